"""What the environment says, in the type that each field declares; every mistake in it is named at once."""

import re
from dataclasses import dataclass, fields
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from functions.nlb_sorry_switchover.app import Config as SwitchoverConfig
from functions.nlb_switchback.app import Config as SwitchbackConfig
from kirikae import env
from kirikae.errors import InputError

ELB = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012"
LISTENER = f"{ELB}:listener/net/shop/50dc6c495c0c9188/0467ef3c8400ae65"
GROUP = f"{ELB}:targetgroup/primary/73e2d6bc24d8a067"
GOOD = {
    "SERVICE_NAME": "shop",
    "TOPIC_ARN": "arn:aws:sns:ap-northeast-1:123456789012:shop",
    "HOLD_PARAMETER": "/shop/hold",
    "TOLD_PARAMETER": "/shop/told/it",
    "NLB_LISTENER_ARNS": LISTENER,
    "PRIMARY_TARGET_GROUP_ARN": GROUP,
    "SORRY_TARGET_GROUP_ARN": GROUP.replace("primary", "sorry"),
    "OUTAGE_ALARM_NAME": "shop-nlb-outage",
    "RECOVERY_ALARM_NAME": "shop-nlb-recovery",
    "READY_ALARM_NAME": "shop-nlb-primary-ready",
    "FLAPPING_ALARM_NAME": "shop-nlb-flapping",
}


@dataclass(frozen=True)
class Sample:
    """A field of every type, required and not."""

    word: str
    number: int
    several: tuple[str, ...]
    flag: bool
    maybe: str = "as declared"
    many: tuple[str, ...] = ()


FULL = {"WORD": "a", "NUMBER": "1", "SEVERAL": "a", "FLAG": "true"}


def problems(kind: type, environ: dict[str, str]) -> list[str]:
    """Return what the one error says, problem by problem."""
    with pytest.raises(InputError) as caught:
        env.load(kind, environ)
    return str(caught.value).split("; ")


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("WORD", "a b", "a b"),
        ("WORD", "  a ", "a"),
        ("NUMBER", "42", 42),
        ("NUMBER", " -7 ", -7),
        ("FLAG", "true", True),
        ("FLAG", "False", False),
        ("SEVERAL", "a,b", ("a", "b")),
        ("SEVERAL", " a , ,b, ", ("a", "b")),
        ("MAYBE", "given", "given"),
        ("MAYBE", "", "as declared"),
        ("MAYBE", "   ", "as declared"),
        ("MANY", "", ()),
    ],
)
def test_each_type_is_read(variable: str, text: str, value: Any) -> None:
    assert getattr(env.load(Sample, FULL | {variable: text}), variable.lower()) == value


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("WORD", "", "WORD (Word) is not set"),
        ("WORD", "  ", "WORD (Word) is not set"),
        ("NUMBER", "", "NUMBER (Number) is not set"),
        ("NUMBER", "one", "NUMBER (Number) is 'one', expected a whole number"),
        ("NUMBER", "1.5", "NUMBER (Number) is '1.5', expected a whole number"),
        ("FLAG", "yes", "FLAG (Flag) is 'yes', expected true or false"),
        ("SEVERAL", "", "SEVERAL (Several) is not set"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_was_expected(variable: str, text: str, said: str) -> None:
    assert problems(Sample, FULL | {variable: text}) == [said]


def test_every_problem_is_in_the_one_error() -> None:
    assert problems(Sample, {"NUMBER": "x", "FLAG": "x"}) == [
        "WORD (Word) is not set",
        "NUMBER (Number) is 'x', expected a whole number",
        "SEVERAL (Several) is not set",
        "FLAG (Flag) is 'x', expected true or false",
    ]


texts = st.text(st.characters(exclude_characters=","), min_size=1).filter(lambda text: text == text.strip())
samples = st.builds(
    Sample,
    word=texts,
    number=st.integers(),
    several=st.lists(texts, min_size=1).map(tuple),
    flag=st.booleans(),
    maybe=texts,
    many=st.lists(texts).map(tuple),
)


@given(samples)
def test_what_is_written_is_what_is_read(sample: Sample) -> None:
    values = {field.name.upper(): getattr(sample, field.name) for field in fields(sample)}
    environ = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}
    assert env.load(Sample, environ) == sample


@given(st.dictionaries(st.sampled_from([*FULL, "MAYBE", "MANY"]), st.text()))
def test_an_environment_is_read_or_refused_in_words_never_a_surprise(environ: dict[str, str]) -> None:
    try:
        loaded = env.load(Sample, environ)
    except InputError as error:
        assert re.search(r"WORD|NUMBER|SEVERAL|FLAG", str(error))  # noqa: PT017  # either way is right
    else:
        assert loaded.word == environ["WORD"].strip()


@pytest.mark.parametrize("kind", [SwitchoverConfig, SwitchbackConfig])
def test_defaults_are_those_of_the_template(kind: Any) -> None:
    config = env.load(kind, GOOD)
    assert (config.dry_run, config.notification_language) == (False, "en")
    assert (config.primary_instance_ids, config.min_healthy_targets, config.switch_mode) == ((), 1, "weighted")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        pytest.param("NLB_LISTENER_ARNS", "shop", "listener ARNs", id="no ARN"),
        pytest.param("NLB_LISTENER_ARNS", GROUP, "listener ARNs", id="ARN of something else"),
        pytest.param("NLB_LISTENER_ARNS", f"{LISTENER}/more", "listener ARNs", id="ARN of a rule"),
        pytest.param("NLB_LISTENER_ARNS", f"{LISTENER},shop", "'shop', expected listener ARNs", id="second of two"),
        pytest.param("NLB_LISTENER_ARNS", LISTENER.replace("/net/", "/gwy/"), "listener ARNs", id="gateway listener"),
        pytest.param("PRIMARY_TARGET_GROUP_ARN", LISTENER, "target group ARNs", id="listener for group"),
        pytest.param("PRIMARY_TARGET_GROUP_ARN", f"{GROUP} {GROUP}", "target group ARNs", id="two groups"),
        pytest.param("SORRY_TARGET_GROUP_ARN", GROUP.replace("123456789012", "1"), "target group ARNs", id="account"),
        pytest.param("PRIMARY_INSTANCE_IDS", "web-1", "instance ids like i-", id="name for id"),
        pytest.param("PRIMARY_INSTANCE_IDS", "i-0123456789abcdef01", "instance ids like i-", id="id too long"),
        pytest.param("MIN_HEALTHY_TARGETS", "0", "a whole number from 1", id="nobody needed"),
        pytest.param("MIN_HEALTHY_TARGETS", "-1", "a whole number from 1", id="negative"),
        pytest.param("SWITCH_MODE", "Weighted", "weighted or replace", id="mode"),
        pytest.param("NOTIFICATION_LANGUAGE", "fr", "en or ja", id="language"),
        pytest.param("DRY_RUN", "1", "true or false", id="flag"),
    ],
)
def test_a_value_of_the_wrong_form_names_variable_parameter_and_value(variable: str, text: str, expected: str) -> None:
    [problem] = problems(SwitchoverConfig, GOOD | {variable: text})
    words = variable.split("_")
    assert problem.startswith(f"{variable} ({''.join(word.title() for word in words)}) ")
    assert text.split(",")[-1] in problem
    assert expected in problem


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1", "ap-northeast-1"])
@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_every_partition_and_region_is_accepted(partition: str, region: str) -> None:
    arn = LISTENER.replace("arn:aws:", f"arn:{partition}:").replace("ap-northeast-1", region)
    assert env.load(SwitchoverConfig, GOOD | {"NLB_LISTENER_ARNS": arn}).nlb_listener_arns == (arn,)


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("ListenerNotFound", True),
        ("TargetGroupNotFound", True),
        ("InvalidInstanceID.NotFound", True),
        ("InvalidInstanceID.Malformed", True),
        ("ResourceNotFoundException", True),
        ("ValidationError", True),
        ("AccessDenied", False),
        ("Throttling", False),
        ("InternalFailure", False),
    ],
)
def test_only_no_such_thing_is_turned_into_the_name_of_its_parameter(code: str, named: bool) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "what AWS says"}}, "DescribeListeners")
    with pytest.raises(InputError if named else ClientError) as caught, env.naming("ListenerArns", "arn:x"):
        raise error
    if named:
        for words in ("ListenerArns", "'arn:x'", code, "what AWS says", "expected one that exists"):
            assert words in str(caught.value)


@pytest.mark.parametrize(("environ", "expected"), [({}, False), ({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}, True)])
def test_in_lambda(environ: dict[str, str], expected: bool) -> None:
    assert env.in_lambda(environ) is expected
