"""Write the service models of botocore, reduced to the operations that kirikae calls, and the few roots of AWS.

A client spends most of its making on the service model: that of EC2 alone is ten megabytes of JSON for the handful of
operations used here. A `Loader` on another directory is all that botocore needs to use the reduced copy. Nothing is
edited: what is kept is kept as it is, less the documentation. Every new connection reads the whole store of trusted
roots; the endpoints of AWS are signed by five of them, and `kirikae.aws` goes back to all if these do not do.

    python build_models.py DIRECTORY
"""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore

OPERATIONS = {
    "autoscaling": [
        "CreateOrUpdateTags",
        "DeleteTags",
        "DescribeAutoScalingGroups",
        "DescribeAutoScalingInstances",
        "EnterStandby",
        "ExitStandby",
        "UpdateAutoScalingGroup",
    ],
    "cloudwatch": ["DescribeAlarms"],
    "ec2": [
        "AssignIpv6Addresses",
        "AssignPrivateIpAddresses",
        "AssociateAddress",
        "CreateTags",
        "DeleteTags",
        "DescribeAddresses",
        "DescribeInstanceStatus",
        "DescribeInstanceTypes",
        "DescribeInstances",
        "DescribeNetworkInterfaces",
        "DescribeRouteTables",
        "DescribeSubnets",
        "ModifyInstanceAttribute",
        "ReplaceRoute",
        "StartInstances",
        "StopInstances",
        "UnassignIpv6Addresses",
    ],
    "elbv2": [
        "AddTags",
        "DeregisterTargets",
        "DescribeListeners",
        "DescribeRules",
        "DescribeTags",
        "DescribeTargetGroupAttributes",
        "DescribeTargetGroups",
        "DescribeTargetHealth",
        "ModifyListener",
        "RegisterTargets",
        "RemoveTags",
        "SetRulePriorities",
    ],
    "sns": ["GetTopicAttributes", "Publish"],
    "ssm": [
        "CancelCommand",
        "DescribeDocument",
        "DescribeInstanceInformation",
        "GetParameter",
        "ListCommandInvocations",
        "ListCommands",
        "PutParameter",
        "SendCommand",
    ],
    "stepfunctions": ["DescribeExecution", "ListExecutions"],
}

# Amazon Trust Services.
AWS_ROOTS = (
    "CN=Amazon Root CA 1 ",
    "CN=Amazon Root CA 2 ",
    "CN=Amazon Root CA 3 ",
    "CN=Amazon Root CA 4 ",
    "CN=Starfield Services Root Certificate Authority - G2 ",
)

DATA = Path(botocore.BOTOCORE_ROOT) / "data"


def build(directory: Path) -> None:
    """Write everything that making the clients of OPERATIONS reads, in the layout that botocore's loader expects."""
    prefixes = set()
    for service, operations in OPERATIONS.items():
        version = max(path.name for path in (DATA / service).iterdir())
        model = read(DATA / service / version / "service-2")
        prefixes.add(model["metadata"]["endpointPrefix"])
        write(directory / service / version / "service-2.json", reduced(model, operations))
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


def reduced(model: dict[str, Any], operations: list[str]) -> dict[str, Any]:
    """Return the model with these operations, the shapes they reach, and no documentation."""
    kept = {name: model["operations"][name] for name in operations}
    shapes: dict[str, Any] = {}
    wanted = list(references(kept))
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            wanted.extend(references(shapes[name]))
    slim: dict[str, Any] = undocumented(
        {"version": model["version"], "metadata": model["metadata"], "operations": kept}
    )
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
