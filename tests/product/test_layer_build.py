"""The built layer: byte code that Lambda takes, reduced models that are as good as the full ones, and nothing more.

Needs `make build`.
"""

import importlib.util
import io
import itertools
import json
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import stacks
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import EndpointVariantError
from botocore.loaders import Loader
from botocore.model import Shape
from botocore.regions import EndpointResolver

import build_models
from benchmarks import cold_start, stub
from benchmarks.runtime import Variant
from sandbox.account import Account
from sandbox.estates.alb import alb_service
from sandbox.estates.nlb import nlb_service
from sandbox.estates.pair import pair_service
from sandbox.estates.standby import standby_service
from sandbox.stack import cloudformation

ROOT = Path(__file__).parents[2]
BUILD = ROOT / ".aws-sam" / "build"
SITE = BUILD / "KirikaeLayer" / "python"
MODELS = SITE / "kirikae" / "models"
BY_SERVICE = build_models.operations()
OPERATIONS = [(service, name) for service, names in BY_SERVICE.items() for name in names]
WHEN = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)


class Body(io.BytesIO):
    """What botocore takes for the raw answer of an HTTP connection."""

    def stream(self) -> Iterator[bytes]:
        """Yield the whole at once."""
        yield self.read()


def session(*, reduced: bool) -> Any:
    """Return a session that reads the reduced models, or those of botocore."""
    made = botocore.session.Session()
    if reduced:
        loader = Loader(extra_search_paths=[str(MODELS)], include_default_search_paths=False)
        made.register_component("data_loader", loader)
    return made


SESSIONS = {reduced: session(reduced=reduced) for reduced in (False, True)}


def client(service: str, region: str = "ap-northeast-1", *, reduced: bool, **options: Any) -> Any:
    """Return a client as `kirikae.aws` makes it."""
    return SESSIONS[reduced].create_client(
        service,
        region,
        aws_access_key_id="a",
        aws_secret_access_key="b",  # noqa: S106  # of nobody
        config=Config(retries={"mode": "standard"}, **options),
    )


def exchange(service: str, operation: str, parameters: Any, answer: bytes, *, reduced: bool) -> tuple[Any, Any]:
    """Return the request that a client sends and what it makes of the answer."""
    sent: list[AWSPreparedRequest] = []

    def serve(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {"content-type": "text/xml"}, Body(answer))

    caller = client(service, reduced=reduced)
    caller.meta.events.register("before-send", serve)
    parsed = getattr(caller, xform_name(operation))(**parameters)
    [request] = sent
    headers = {name: value for name, value in request.headers.items() if name not in ("Authorization", "X-Amz-Date")}
    headers.pop("amz-sdk-invocation-id")  # random
    return (request.method, request.url, headers, request.body), parsed


def sample(shape: Shape, within: tuple[str, ...] = ()) -> Any:
    """Return a value of the shape with every member set, two items in every list; what contains itself ends empty."""
    inside = (*within, shape.name)
    match shape.type_name:
        case "structure":
            members = {name: member for name, member in shape.members.items() if member.name not in inside}
            if getattr(shape, "is_tagged_union", False):  # one of them at a time
                members = dict(itertools.islice(members.items(), 1))
            return {name: sample(member, inside) for name, member in members.items()}
        case "list":
            return [] if shape.member.name in inside else [sample(shape.member, inside) for _ in range(2)]
        case "map":
            return {sample(shape.key, inside): sample(shape.value, inside)}
        case "string":
            return shape.enum[-1] if shape.enum else shape.name[:8].ljust(shape.metadata.get("min", 1), "x")
        case "integer" | "long":
            return max(7, shape.metadata.get("min", 0))
        case "double" | "float":
            return 1.5
        case "boolean":
            return True
        case "blob":
            return b"bytes"
        case "timestamp":
            return WHEN
    raise NotImplementedError(shape.type_name)


def xml(name: str, shape: Shape, value: Any) -> str:
    """Write a value as the query and EC2 protocols do in an answer."""
    match shape.type_name:
        case "structure":
            inner = "".join(
                xml(member.serialization.get("name", key), member, value[key])
                for key, member in shape.members.items()
                if key in value
            )
        case "list":
            item = shape.member.serialization.get("name", "member")
            if shape.serialization.get("flattened"):
                return "".join(xml(name, shape.member, one) for one in value)
            inner = "".join(xml(item, shape.member, one) for one in value)
        case "map":
            inner = "".join(
                f"<entry>{xml('key', shape.key, key)}{xml('value', shape.value, one)}</entry>"
                for key, one in value.items()
            )
        case "timestamp":
            inner = value.isoformat()
        case "boolean":
            inner = str(value).lower()
        case _:
            inner = str(value)
    return f"<{name}>{inner}</{name}>"


def answer_of(service: str, operation: str) -> bytes:
    """Return an answer with everything in it that the full model knows."""
    caller = client(service, reduced=False)
    model = caller.meta.service_model
    output = model.operation_model(operation).output_shape
    if model.resolved_protocol == "json":
        text = json.dumps(sample(output) if output else {}, default=lambda moment: moment.timestamp())
    elif output is None:
        text = f"<{operation}Response/>"
    else:
        name = output.serialization.get("resultWrapper", f"{operation}Response")
        text = xml(name, output, sample(output))
        if name != f"{operation}Response":
            text = f"<{operation}Response>{text}</{operation}Response>"
    return text.encode()


def parameters_of(service: str, operation: str) -> Any:
    """Return a call with every parameter that the full model knows."""
    shape = client(service, reduced=False).meta.service_model.operation_model(operation).input_shape
    return sample(shape)


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_a_reduced_client_sends_the_same_bytes_and_understands_the_same_answer(service: str, operation: str) -> None:
    parameters, answer = parameters_of(service, operation), answer_of(service, operation)
    request, parsed = exchange(service, operation, parameters, answer, reduced=True)
    full_request, full_parsed = exchange(service, operation, parameters, answer, reduced=False)
    assert request == full_request
    assert parsed == full_parsed
    output = client(service, reduced=False).meta.service_model.operation_model(operation).output_shape
    assert parsed.keys() - {"ResponseMetadata"} == set(output.members if output else ()), "the answer was not read"


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_a_reduced_model_differs_from_the_full_one_only_in_what_is_left_out(service: str, operation: str) -> None:
    reduced, full = (client(service, reduced=kind).meta.service_model for kind in (True, False))
    # Versions of botocore that know no `protocols` go by `protocol`, and the newest is not known to them.
    assert reduced.metadata == full.metadata | {"protocol": full.resolved_protocol}
    seen: set[str] = set()
    models = [kind.operation_model(operation) for kind in (reduced, full)]
    waiting = [
        tuple(getattr(model, side) for model in models)
        for side in ("input_shape", "output_shape")
        if getattr(models[1], side)
    ]
    waiting += zip(models[0].error_shapes, models[1].error_shapes, strict=True)
    assert models[0].http == models[1].http
    while waiting:
        ours, theirs = waiting.pop()
        assert (ours.name, ours.type_name) == (theirs.name, theirs.type_name)
        assert (ours.metadata, ours.serialization) == (theirs.metadata, theirs.serialization)
        if ours.name not in seen:
            seen.add(ours.name)
            if ours.type_name == "structure":
                assert list(ours.members) == list(theirs.members)  # in the same order
                waiting += zip(ours.members.values(), theirs.members.values(), strict=True)
            elif ours.type_name == "list":
                waiting.append((ours.member, theirs.member))
            elif ours.type_name == "map":
                waiting += [(ours.key, theirs.key), (ours.value, theirs.value)]
    assert seen


def test_an_error_of_the_service_reads_the_same() -> None:
    body = b"<ErrorResponse><Error><Code>TargetGroupNotFound</Code><Message>gone</Message></Error></ErrorResponse>"
    for reduced in (True, False):
        caller = client("elbv2", reduced=reduced)
        caller.meta.events.register("before-send", lambda request, **_: AWSResponse(request.url, 400, {}, Body(body)))
        with pytest.raises(caller.exceptions.ClientError, match=r"TargetGroupNotFound.*gone") as caught:
            caller.describe_target_health(TargetGroupArn="x")
        assert type(caught.value).__name__ == "TargetGroupNotFoundException"


def test_no_endpoint_of_any_partition_or_region_is_lost() -> None:
    full, reduced = (EndpointResolver(SESSIONS[kind].get_data("endpoints"), False) for kind in (False, True))
    prefixes = {client(service, reduced=True).meta.service_model.endpoint_prefix for service in BY_SERVICE}
    compared = 0
    for prefix, partition in itertools.product(prefixes, full.get_available_partitions()):
        regions = full.get_available_endpoints(prefix, partition, allow_non_regional=True)
        assert regions == reduced.get_available_endpoints(prefix, partition, allow_non_regional=True)
        for region, fips, dual_stack in itertools.product([*regions, "eu-nowhere-9"], (True, False), (True, False)):
            theirs, ours = (endpoint(resolver, prefix, region, fips, dual_stack) for resolver in (full, reduced))
            assert ours == theirs, (prefix, region, fips, dual_stack)
            compared += theirs is not None
    assert {"aws", "aws-cn", "aws-us-gov"} <= set(reduced.get_available_partitions())
    assert compared > 200


def endpoint(resolver: EndpointResolver, prefix: str, region: str, fips: bool, dual_stack: bool) -> Any:
    """Return the endpoint, or None where the partition has none of that kind."""
    try:
        return resolver.construct_endpoint(prefix, region, use_fips_endpoint=fips, use_dualstack_endpoint=dual_stack)
    except EndpointVariantError:
        return None


@pytest.mark.parametrize("service", BY_SERVICE)
@pytest.mark.parametrize(
    "region",
    ["ap-northeast-1", "us-east-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1", "ap-new-9"],
)
def test_a_reduced_client_calls_the_same_host(service: str, region: str) -> None:
    for options in ({}, {"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}):
        hosts = {client(service, region, reduced=kind, **options).meta.endpoint_url for kind in (True, False)}
        assert len(hosts) == 1, options
        assert hosts != {None}


def test_the_models_are_for_exactly_the_operations_that_the_code_calls() -> None:
    for service, operations in BY_SERVICE.items():
        [reduced] = (MODELS / service).glob("*/service-2.json")
        assert sorted(json.loads(reduced.read_text(encoding="utf-8"))["operations"]) == operations


def sources(directory: Path, text: str) -> Path:
    """Return a layer of one module in a package."""
    (directory / "nlb").mkdir()
    (directory / "nlb" / "switch.py").write_text(text, encoding="utf-8")
    return directory


def test_every_client_in_the_sources_is_found_in_packages_too(tmp_path: Path) -> None:
    text = "aws.client('ec2').describe_instances()\naws.client('ssm', 1).send_command(aws.client('sns').publish)"
    assert build_models.operations(sources(tmp_path, text)) == {
        "ec2": ["DescribeInstances"],
        "sns": ["Publish"],
        "ssm": ["SendCommand"],
    }


@pytest.mark.parametrize(
    "text", ["client = aws.client('ec2')\nclient.stop()", "aws.client(name).stop()", "f(aws.client('ec2'))"]
)
def test_a_client_whose_operations_cannot_be_told_ends_the_build(tmp_path: Path, text: str) -> None:
    with pytest.raises(SystemExit, match=r"switch\.py:1: expected aws\.client"):
        build_models.operations(sources(tmp_path, text))


@pytest.mark.parametrize("environment", [".venv-lambda", ".venv-floor"])
def test_other_versions_of_botocore_send_the_same_by_the_models(environment: str) -> None:
    """Lambda's botocore is another version than that which the models come from: newer, or as old as the floor."""
    calls = [(service, name, parameters_of(service, name), answer_of(service, name)) for service, name in OPERATIONS]
    given = [(service, xform_name(name), *exchanged) for service, name, *exchanged in calls]
    credentials = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "ap-northeast-1"}
    run = subprocess.run(
        [ROOT / environment / "bin" / "python", "-P", "-B", "-c", EXCHANGES],
        input=json.dumps(given, default=as_text),
        env={"PYTHONPATH": str(SITE)} | credentials,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""  # nor was another model taken
    for call, done in zip(calls, json.loads(run.stdout), strict=True):
        (method, url, _, body), parsed = exchange(*call, reduced=False)
        assert done == [method, url, as_text(body), sorted(parsed)], call


EXCHANGES = """
import io, json, sys
from botocore.awsrequest import AWSResponse
from kirikae import aws

def serve(request, **_):
    sent.append(request)
    body = io.BytesIO(answer.encode())
    body.stream = lambda: iter([body.read()])
    return AWSResponse(request.url, 200, {"content-type": "text/xml"}, body)

done = []
for service, method, parameters, answer in json.load(sys.stdin):
    client, sent = aws.client(service), []
    client.meta.events.register("before-send", serve, unique_id="serve")
    parsed = getattr(client, method)(**parameters)
    [request] = sent
    body = request.body
    done.append([request.method, request.url, body.decode() if isinstance(body, bytes) else str(body), sorted(parsed)])
print(json.dumps(done))
"""


def as_text(value: Any) -> str:
    """Return bytes or a time as they are written in JSON."""
    return value.decode() if isinstance(value, bytes) else str(value)


def test_every_function_runs_on_the_oldest_sdk(account: Account, build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_LAMBDA_PYTHON", str(ROOT / ".venv-floor" / "bin" / "python"))
    shop, pages, batch, pair = (
        nlb_service(account),
        alb_service(account),
        standby_service(account),
        pair_service(account),
    )
    given = pair.parameters | {
        "NlbListenerArns": shop.listener_arn,
        "PrimaryTargetGroupArns": shop.primary_arn,
        "SorryTargetGroupArns": shop.sorry_arn,
        "RotationTargetGroupArns": shop.primary_arn,
        "ActiveInstanceId": batch.active,
        "StandbyInstanceIds": ",".join(batch.standbys),
        "MaintenanceListenerArn": pages.listener_arn,
        "DryRun": "true",
    }
    stack = cloudformation.deploy(account, build, "old", given)
    for function in stacks.FUNCTIONS:
        event = {"operation": "status"} if "Target" in function else {"action": "reconcile"}
        done = account.functions.invoke(stack.resources[function], event)
        assert done.error is None, (function, done.payload)
        assert "reduced models" not in "".join(done.log), function


def test_every_module_of_the_layer_has_byte_code_that_needs_no_timestamp() -> None:
    sources = list(SITE.rglob("*.py"))
    assert len(sources) > 100
    for source in sources:
        compiled = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        assert compiled[:4] == importlib.util.MAGIC_NUMBER, source  # that of the Lambda runtime, which runs this test
        assert struct.unpack("<I", compiled[4:8]) == (0b01,), f"{source}: not an unchecked hash"
        assert compiled[8:16] == importlib.util.source_hash(source.read_bytes()), f"{source}: older than its source"


def test_the_layer_holds_what_the_runtime_lacks_and_nothing_else() -> None:
    assert sorted(
        path.name for path in SITE.iterdir() if path.suffix != ".dist-info" and path.name != "__pycache__"
    ) == [
        "aws_lambda_powertools",
        "jmespath",
        "kirikae",
        "typing_extensions.py",
        "tzdata",
    ]
    assert {path.parent.name for path in SITE.rglob("tests")} == set()


def test_the_packages_are_small() -> None:
    """Lambda fetches and unpacks them at every cold start."""
    assert packed(BUILD / "KirikaeLayer") < 3_550_000
    assert sum(path.stat().st_size for path in MODELS.rglob("*.json")) < 300_000
    for function in BUILD.glob("*Function"):
        assert packed(function) < (400_000 if (function / "tzdata").is_dir() else 10_000), function.name


def packed(directory: Path) -> int:
    """Return the bytes of the directory as an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in directory.rglob("*"):
            archive.write(path, path.relative_to(directory))
    return buffer.getbuffer().nbytes


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stub.Stub]:
    """Yield AWS as the benchmarks see it."""
    with stub.Stub(tmp_path_factory.mktemp("stub")) as made:
        yield made


@pytest.fixture(scope="module")
def variants(aws: stub.Stub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Variant]:
    """Return what the benchmarks measure, with a layer that trusts their AWS."""
    layer = cold_start.trusting(tmp_path_factory.mktemp("trusting"), aws)
    return {variant.name: variant for variant in cold_start.variants(layer)}


@pytest.mark.parametrize(
    ("handler", "read_in_init", "called"),
    [
        (
            "nlb_sorry_switchover",
            ["DescribeListeners", "GetParameter", "GetTopicAttributes", "DescribeInstances"],
            [
                "DescribeListeners",
                "DescribeRules",
                "DescribeTargetHealth",
                "DescribeTargetHealth",
                "DescribeInstances",
                "GetParameter",
                "ModifyListener",
                "DescribeListeners",
                "GetParameter",  # who was on the sorry page, to name whoever left the parameter
                "GetParameter",  # what people were told, and that they are about to be told this
                "PutParameter",
                "Publish",
                "PutParameter",
            ],
        ),
        (
            "nlb_switchback",
            ["DescribeListeners", "GetParameter", "GetTopicAttributes", "DescribeInstances", "DescribeAlarms"],
            [
                "DescribeListeners",
                "DescribeRules",
                "DescribeTargetHealth",
                "DescribeInstances",
                "DescribeAlarms",
                "GetParameter",  # since when people know that the page is on
                "GetParameter",
                "ModifyListener",
                "DescribeListeners",
                "GetParameter",  # who was on the sorry page, to name whoever left the parameter
                "GetParameter",  # what people were told, and that they are about to be told this
                "PutParameter",
                "Publish",
                "PutParameter",
            ],
        ),
    ],
)
def test_a_cold_switch_makes_no_call_too_many(
    aws: stub.Stub, variants: dict[str, Variant], handler: str, read_in_init: list[str], called: list[str]
) -> None:
    cold_start.run(variants[handler], aws)
    assert aws.calls == read_in_init + called


@pytest.mark.parametrize("handler", ["nlb_sorry_switchover", "nlb_switchback"])
def test_a_cold_start_imports_no_more_than_it_needs(aws: stub.Stub, variants: dict[str, Variant], handler: str) -> None:
    names = cold_start.modules(variants[handler], aws)
    assert not {name.partition(".")[0] for name in names} & {"boto3", "s3transfer", "pydantic", "aws_xray_sdk"}
    assert len(names) <= 445
    assert len(names) > len(cold_start.modules(variants["empty"], aws))
