"""AWS's HTTP protocols: from a request to a service, an operation and parameters, and back to an answer."""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from botocore.parsers import create_parser
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request as MotoRequest
from moto.core.request import determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker, get_serializer_class
from moto.core.utils import MISSING, get_value
from werkzeug.exceptions import NotFound

type Answer = tuple[int, dict[str, str], bytes]

# The name under which a service signs its requests, where that is not the name of its client.
_SIGNED_AS = {"elasticloadbalancing": "elbv2", "monitoring": "cloudwatch", "states": "stepfunctions"}
_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/aws4_request")
_REQUEST_ID = "00000000-0000-4000-8000-000000000000"


# Service, class of the object, structure, member and what changes values -> the names that the member may have in such
# an object, and what changes the value at the end of which path.
_NAMES: dict[tuple[str, type, str, str, int], tuple[tuple[str, ...], dict[str, Any]]] = {}


class Picker(XFormedAttributePicker):
    """moto's reader of its own objects, which would work out the names of each member of each answer anew."""

    def __call__(self, context: AttributePickerContext) -> Any:
        """Return what a member of an answer is in moto's object, or None."""
        within = getattr(getattr(context.shape, "parent", None), "name", "")
        changes = id(self.response_transformers) if self.response_transformers else 0  # of a class of moto's, or none
        what = context.service_model.service_name, type(context.obj), within, context.key, changes
        if what not in _NAMES:
            ends = {p: t for p, t in self.response_transformers.items() if context.key.endswith(p.rpartition(".")[2])}
            _NAMES[what] = tuple(dict.fromkeys(self.get_possible_keys(context))), ends
        names, ends = _NAMES[what]
        found = (value for name in names if (value := get_value(context.obj, name, MISSING)) is not MISSING)
        value = next(found, None)
        if ends:
            path = f"{context.key_path}.{context.key}"
            transform = next((transform for end, transform in ends.items() if path.endswith(end)), None)
            return transform(value) if transform else value
        return value


class Refusal(Exception):  # noqa: N818 (AWS's answer, not the sandbox's error)
    """An error answer: AWS's code, its message and the HTTP status."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message or f"{code}."
        self.status = status


@dataclass(frozen=True)
class Request:
    """One API request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    access_key: str
    service: str
    operation: str = ""
    protocol: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    model: Any = None  # moto's operation model


def read(method: str, path: str, headers: dict[str, str], body: bytes) -> Request:
    """Return the request with its service, operation and parameters in AWS's names, none of which is checked yet.

    An operation that moto does not know is "". Refusal MissingAuthenticationToken for a request that is not signed.
    """
    credential = _CREDENTIAL.search(headers.get("authorization", ""))
    if not credential:
        raise Refusal("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    access_key, _, signed_as = credential.groups()
    service = _SIGNED_AS.get(signed_as, signed_as)
    raw = MotoRequest.from_primitives(method, f"https://{service}.amazonaws.com{path}", headers, body)
    try:
        operation, uri = get_service_router(service).match(raw)
    except NotFound:
        return Request(method, path, headers, body, access_key, service)
    protocol = determine_request_protocol(operation.service_model, raw.content_type)
    params = PROTOCOL_PARSERS[protocol](operation).parse(
        {
            "method": method,
            "values": raw.values,
            "headers": raw.headers,
            "body": body,
            "url_path": raw.path,
            "url_params": uri,
        }
    )
    return Request(method, path, headers, body, access_key, service, str(operation.name), protocol, params, operation)


def answer(request: Request, result: dict[str, Any]) -> Answer:
    """Write a result, in the names of the service's own model, in the protocol of the request.

    moto's objects may stand in it as they are.
    """
    serializer = get_serializer_class(request.service, request.protocol)
    written = serializer(request.model, value_picker=Picker()).serialize(result)
    body = written["body"]
    return written["status_code"], dict(written["headers"]), body.encode() if isinstance(body, str) else body


def result(request: Request, answered: Answer) -> dict[str, Any]:
    """Return what an answer says, as a client of the service would read it: what `answer` writes."""
    status, headers, body = answered
    given = {"status_code": status, "headers": headers, "body": body}
    said: dict[str, Any] = create_parser(request.protocol).parse(given, request.model.output_shape)
    said.pop("ResponseMetadata", None)
    return said


def spoiled(request: Request, answered: Answer, how: str) -> Answer:
    """Return the answer with a body that is "empty", "cut" in its middle, "bare" of every member, or a proxy's "html".

    An error stays as it is.
    """
    status, headers, body = answered
    if status >= 400:
        return answered
    match how:
        case "empty":
            return status, headers, b""
        case "cut":
            return status, headers, body[: len(body) // 2]
        case "bare":
            return answer(request, {})
        case "html":  # well-formed, so that it is XML too
            page = b"<html><head><title>Sign in</title></head><body>Sign in to the network.</body></html>"
            return status, {"Content-Type": "text/html"}, page
    raise ValueError(f"a body is empty, cut, bare or html, not {how}")


def refuse(request: Request | None, error: Refusal) -> Answer:
    """Write an error in the shape of the service that was asked."""
    protocol = request.protocol if request else "query"
    code, message = escape(error.code), escape(error.message)
    xml = {"Content-Type": "text/xml"}
    if protocol == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            f"<RequestID>{_REQUEST_ID}</RequestID></Response>"
        )
        return error.status, xml, text.encode()
    if protocol in ("query", ""):
        sender = "Sender" if error.status < 500 else "Receiver"
        text = (
            f"<ErrorResponse><Error><Type>{sender}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            f"<RequestId>{_REQUEST_ID}</RequestId></ErrorResponse>"
        )
        return error.status, xml, text.encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": error.code}
    # The older code of a service that once spoke the query protocol; boto3 shows this one.
    headers["x-amzn-query-error"] = f"{error.code};{'Sender' if error.status < 500 else 'Receiver'}"
    return error.status, headers, json.dumps({"__type": error.code, "message": error.message}).encode()


def error_code(answered: Answer) -> str | None:
    """Return the code of an error answer, its HTTP status if it has none, None for a success."""
    status, headers, body = answered
    if status < 400:
        return None
    lower = {name.lower(): value for name, value in headers.items()}
    if kind := lower.get("x-amzn-errortype"):
        return kind.split(":")[0].split("#")[-1]
    if found := re.search(rb"<Code>([^<]+)</Code>", body):
        return found.group(1).decode()
    try:
        return str(json.loads(body).get("__type", status)).split("#")[-1]
    except ValueError:
        return str(status)
