"""Write the service models of botocore, reduced to the operations that the layer calls, and the few roots of AWS.

A client spends most of its making on the service model: that of EC2 alone is ten megabytes of JSON for the handful of
operations used here. A `Loader` on another directory is all that botocore needs to use the reduced copy. What is kept
is kept as it is, less the documentation; only `protocol` names the one that botocore chooses of `protocols`, because
its versions before 1.38 go by that alone, and not all of them know CloudWatch's newest one. Every new connection reads
the whole store of trusted roots; the endpoints of AWS are signed by five of them, and `kirikae.aws` goes back to all if
these do not do.

    python build_models.py DIRECTORY
"""

import ast
import functools
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
from botocore import xform_name
from botocore.model import ServiceModel

# Amazon Trust Services.
AWS_ROOTS = (
    "CN=Amazon Root CA 1 ",
    "CN=Amazon Root CA 2 ",
    "CN=Amazon Root CA 3 ",
    "CN=Amazon Root CA 4 ",
    "CN=Starfield Services Root Certificate Authority - G2 ",
)

DATA = Path(botocore.BOTOCORE_ROOT) / "data"
SOURCES = Path(__file__).parent / "kirikae"


def operations(sources: Path = SOURCES) -> dict[str, list[str]]:
    """Return what the layer calls, service -> operations: each `aws.client("service").operation(...)` in its sources.

    Exits with the place of a client that is used in any other way: its operations would be missing from the models.
    """
    found: dict[str, set[str]] = {}
    for path in sorted(sources.rglob("*.py")):
        calls = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        clients = [call for call in calls if isinstance(call, ast.Call) and ast.unparse(call.func) == "aws.client"]
        for call in calls:
            match call:
                case ast.Attribute(value=ast.Call(args=[ast.Constant(value=str(service)), *_]), attr=method) if (
                    call.value in clients
                ):
                    clients.remove(call.value)
                    found.setdefault(service, set()).add(method)
        for client in clients:
            sys.exit(f'{path}:{client.lineno}: expected aws.client("service").operation(...), or the models lack it')
    return {service: sorted(_named(service, methods)) for service, methods in sorted(found.items())}


def _named(service: str, methods: set[str]) -> Iterator[str]:
    """Yield the operations behind methods of a client, DescribeInstances for `describe_instances`."""
    by_method = {xform_name(operation): operation for operation in model(service)[1]["operations"]}
    for method in methods:
        yield by_method[method]


@functools.cache
def model(service: str) -> tuple[str, dict[str, Any]]:
    """Return the version of a service's API that botocore uses, and its model."""
    version = max(path.name for path in (DATA / service).iterdir())
    return version, read(DATA / service / version / "service-2")


def build(directory: Path) -> None:
    """Write everything that making the clients reads, in the layout that botocore's loader expects."""
    prefixes = set()
    for service, called in operations().items():
        version, full = model(service)
        prefixes.add(full["metadata"]["endpointPrefix"])
        write(directory / service / version / "service-2.json", reduced(full, called))
        write(
            directory / service / version / "endpoint-rule-set-1.json",
            read(DATA / service / version / "endpoint-rule-set-1"),
        )
    endpoints = read(DATA / "endpoints")
    for partition in endpoints["partitions"]:
        partition["services"] = {name: value for name, value in partition["services"].items() if name in prefixes}
    write(directory / "endpoints.json", endpoints)
    write(directory / "partitions.json", read(DATA / "partitions"))
    write(directory / "sdk-default-configuration.json", read(DATA / "sdk-default-configuration"))


def reduced(full: dict[str, Any], called: list[str]) -> dict[str, Any]:
    """Return the model with these operations, the shapes they reach, and no documentation."""
    kept = {name: full["operations"][name] for name in called}
    shapes: dict[str, Any] = {}
    wanted = list(references(kept))
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = full["shapes"][name]
            wanted.extend(references(shapes[name]))
    chosen = ServiceModel(full).resolved_protocol
    metadata = full["metadata"] | {"protocol": chosen}
    slim: dict[str, Any] = undocumented({"version": full["version"], "metadata": metadata, "operations": kept})
    slim["shapes"] = {name: undocumented(shapes[name]) for name in sorted(shapes)}
    return slim


def references(value: Any) -> Iterator[str]:
    """Yield the name of every shape that a part of a model refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("shape"), str):
            yield value["shape"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def undocumented(value: Any) -> Any:
    """Return a part of a model without its documentation (a member may itself be called so: that is a dict)."""
    if isinstance(value, dict):
        return {
            name: undocumented(item)
            for name, item in value.items()
            if not (name in ("documentation", "documentationUrl") and isinstance(item, str))
        }
    return value


def read(path: Path) -> dict[str, Any]:
    """Return one of botocore's data files, given without its ending."""
    packed = path.with_name(path.name + ".json.gz")
    text = gzip.decompress(packed.read_bytes()) if packed.exists() else path.with_name(path.name + ".json").read_bytes()
    content: dict[str, Any] = json.loads(text)
    return content


def write(path: Path, content: dict[str, Any]) -> None:
    """Write compact JSON, keys in their own order: the order of members is that of the request."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")


def roots() -> str:
    """Return those of botocore's root certificates that sign the endpoints of AWS, in PEM.

    https://aws.amazon.com/blogs/security/how-to-prepare-for-aws-move-to-its-own-certificate-authority/
    """
    bundle = (Path(botocore.BOTOCORE_ROOT) / "cacert.pem").read_text(encoding="utf-8")
    blocks = bundle.split("# Issuer: ")[1:]
    found = [block[block.index("-----BEGIN") :] for block in blocks if block.startswith(AWS_ROOTS)]
    if len(found) != len(AWS_ROOTS):
        sys.exit(f"botocore's bundle has {len(found)} of the {len(AWS_ROOTS)} roots {AWS_ROOTS}")
    return "".join(found)


if __name__ == "__main__":
    build(Path(sys.argv[1]) / "models")
    (Path(sys.argv[1]) / "roots.pem").write_text(roots(), encoding="utf-8")
