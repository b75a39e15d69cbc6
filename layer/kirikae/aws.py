"""Clients of AWS: this is the only place that makes one."""

from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import SSLError
from botocore.loaders import Loader

# Two seconds to connect, five to answer, three attempts: an endpoint out of reach fails well inside the timeout.
_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
# Both are made by the layer's build and absent in the source tree.
_MODELS = Path(__file__).with_name("models")  # cut down to the operations called here: EC2's client in 5 ms, not 100
_ROOTS = Path(__file__).with_name("roots.pem")  # those of AWS's own certificates: a connection in 10 ms, not 40


@cache
def _session() -> Any:
    session = botocore.session.get_session()
    if _MODELS.is_dir():
        models = Loader(extra_search_paths=[str(_MODELS)], include_default_search_paths=False)
        session.register_component("data_loader", models)
    if _ROOTS.is_file() and not session.get_config_variable("ca_bundle"):
        session.set_config_variable("ca_bundle", str(_ROOTS))
        session.register("needs-retry", _trust_every_root)
    return session


def _trust_every_root(caught_exception: Exception | None = None, **_: object) -> None:
    """If the few roots do not verify a certificate, make every further client with all of botocore's roots."""
    if isinstance(caught_exception, SSLError):
        _session().set_config_variable("ca_bundle", None)
        client.cache_clear()


@cache
def client(service: str, attempts: int = 3) -> Any:
    """Return the one client for `service`; tests that change the world call `client.cache_clear()`.

    One attempt is for a call that must not be repeated when only its answer was lost.
    """
    config = _CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": attempts}))
    return _session().create_client(service, config=config)
