"""The only place that makes a client."""

from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

# Two seconds to connect, five to answer, three attempts: an endpoint out of reach fails well inside the timeout.
_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
_MODELS = Path(__file__).with_name("models")  # made by the layer's build; absent in the source tree


@cache
def _session() -> Any:
    session = botocore.session.get_session()
    if _MODELS.is_dir():
        # Models cut down to the operations that are called here: a client of EC2 in 5 ms instead of 100.
        models = Loader(extra_search_paths=[str(_MODELS)], include_default_search_paths=False)
        session.register_component("data_loader", models)
    return session


@cache
def client(service: str) -> Any:
    """Return the one client for `service`; tests that change the world call `client.cache_clear()`."""
    return _session().create_client(service, config=_CONFIG)
