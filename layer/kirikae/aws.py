"""Clients of AWS: this is the only place that makes one, and that says which answers are none."""

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, SSLError
from botocore.loaders import Loader

from kirikae.errors import AnswerError, part

# Two seconds to connect, five to answer, three attempts: an endpoint out of reach fails well inside the timeout.
_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
# Systems Manager is asked beside a change, for the hold and for what people know: one that hangs must leave it time.
_ANSWER_SECONDS = {"ssm": 2}
_PAGES = (b"<html", b"<!doctype")
# Both are made by the layer's build and absent in the source tree.
_MODELS = Path(__file__).with_name("models")  # cut down to the operations called here: EC2's client in 5 ms, not 100
_ROOTS = Path(__file__).with_name("roots.pem")  # those of AWS's own certificates: a connection in 10 ms, not 40


@cache
def _session() -> Any:
    session = botocore.session.get_session()
    session.register("creating-client-class", _read_with_care)
    session.register("before-parse", _no_page)
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


class _Answer(dict[str, Any]):
    """What AWS answered, or a part of it: asked for a field that it lacks, it raises AnswerError."""

    call: str  # such as "ssm GetParameter"

    def __missing__(self, name: str) -> Any:
        return part(self, name, self.call)


class _Careful:
    """A client whose answers are all there or AnswerError, whatever botocore makes of a body that is none."""

    def _make_api_call(self, operation: str, parameters: Any) -> Any:
        call = f"{self.meta.service_model.service_name} {operation}"  # type: ignore[attr-defined]  # of the client
        try:
            return _answer(super()._make_api_call(operation, parameters), call)  # type: ignore[misc]
        except (ClientError, BotoCoreError):
            raise
        except Exception as error:
            raise AnswerError(call=call, problem=f"cannot be read ({error!r:.200})") from error


def _read_with_care(**making: Any) -> None:
    """Let every client be careful.

    https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html
    """
    making["base_classes"].insert(0, _Careful)


def _answer(value: Any, call: str) -> Any:
    """Return an answer, or a part of it, whose parts know what was asked."""
    if isinstance(value, dict):
        made = _Answer({key: _answer(item, call) for key, item in value.items()})
        made.call = call
        return made
    return [_answer(item, call) for item in value] if isinstance(value, list) else value


def _no_page(**parsed: Any) -> None:
    """Refuse the page of a proxy: it can be well-formed XML, which answers a write that returns nothing."""
    operation, answer = parsed["operation_model"], parsed["response_dict"]
    if answer["status_code"] < 300 and answer["body"].lstrip()[:9].lower().startswith(_PAGES):
        call = f"{operation.service_model.service_name} {operation.name}"
        raise AnswerError(call=call, problem="is a page of HTML, not of AWS")


@cache
def client(service: str, attempts: int = 3) -> Any:
    """Return the one client for `service`; tests that change the world call `client.cache_clear()`.

    One attempt is for a call that must not be repeated when only its answer was lost.  If the runtime's botocore cannot
    make a client of the reduced models, this and all further ones are made of its own: slower, but they are made.
    """
    config = _CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": attempts}))
    if service in _ANSWER_SECONDS:
        config = config.merge(Config(read_timeout=_ANSWER_SECONDS[service]))
    try:
        return _session().create_client(service, config=config)
    except Exception as error:  # noqa: BLE001 (raised again below if it is not the models)
        logging.getLogger(__name__).warning("no client of the reduced models, %r: the runtime's own are used", error)
        _session().register_component("data_loader", Loader())
        return _session().create_client(service, config=config)


def repeated(answer: Mapping[str, Any]) -> bool:
    """Tell whether the SDK has asked more than once for this answer, or refusal: what it asked first may be done.

    https://docs.aws.amazon.com/boto3/latest/guide/retries.html
    """
    return bool(answer.get("ResponseMetadata", {}).get("RetryAttempts"))
