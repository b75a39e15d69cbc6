"""The sorry ALB that the stack makes: its page, its health path, who may open it, and that visitors get it."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from conftest import Shop
from stacks import (
    CERTIFICATE,
    NLB_ALB,
    ROOT,
    SORRY_ALB,
    all_of,
)
from template_tools import expanded, of_type

from sandbox.stack import cloudformation
from sandbox.traffic import NlbPlane


@pytest.mark.parametrize(
    ("port", "certificate", "protocols"),
    [
        pytest.param(443, CERTIFICATE, {443: "HTTPS"}, id="HTTPS"),
        pytest.param(80, "", {80: "HTTP"}, id="HTTP"),
        pytest.param(80, CERTIFICATE, {443: "HTTPS", 80: "HTTP"}, id="both, HTTP behind the NLB"),
    ],
)
def test_the_sorry_alb_says_503_in_two_languages_and_is_healthy_on_a_path_of_its_own(
    port: int, certificate: str, protocols: dict[int, str]
) -> None:
    stack = expanded(NLB_ALB | {"SorryPort": str(port), "SorryCertificateArn": certificate})
    [balancer] = all_of(stack, "AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    [group] = all_of(stack, "AWS::ElasticLoadBalancingV2::TargetGroup").values()
    listeners = all_of(stack, "AWS::ElasticLoadBalancingV2::Listener")
    assert (balancer["Properties"]["Type"], balancer["Properties"]["Scheme"]) == ("application", "internal")
    assert {one["Properties"]["Port"]: one["Properties"]["Protocol"] for one in listeners.values()} == protocols
    for listener in listeners.values():
        secure = listener["Properties"]["Protocol"] == "HTTPS"
        assert listener["Properties"].get("Certificates") == ([{"CertificateArn": CERTIFICATE}] if secure else None)
        [default] = listener["Properties"]["DefaultActions"]
        page = default["FixedResponseConfig"]
        assert (default["Type"], page["StatusCode"], page["ContentType"]) == ("fixed-response", "503", "text/html")
        assert len(page["MessageBody"]) <= 1024
        assert "申し訳" in page["MessageBody"]
        assert "sorry" in page["MessageBody"]
        [rule] = [
            resource["Properties"]
            for resource in all_of(stack, "AWS::ElasticLoadBalancingV2::ListenerRule").values()
            if resource["Properties"]["ListenerArn"] == listener["Ref"]
        ]
        [condition], [action] = rule["Conditions"], rule["Actions"]
        health = group["Properties"]
        assert condition["PathPatternConfig"]["Values"] == [health["HealthCheckPath"]]
        assert action["FixedResponseConfig"]["StatusCode"] == health["Matcher"]["HttpCode"] == "200"
    used = {one["Properties"]["Port"]: one["Ref"] for one in listeners.values()}[port]
    assert (group["Properties"]["TargetType"], group["Properties"]["Protocol"]) == ("alb", "TCP")
    assert group["Properties"]["Port"] == port
    assert group["Properties"]["HealthCheckProtocol"] == protocols[port]
    assert group["Properties"]["Targets"] == [{"Id": balancer["Ref"], "Port": port}]
    assert used in json.dumps(group["Properties"]), "the group names its listener, so that it is made after it"
    for function in of_type(stack, "AWS::Lambda::Function").values():
        assert function["Environment"]["Variables"]["SORRY_TARGET_GROUP_ARN"] == group["Ref"]


@pytest.mark.parametrize("count", range(1, 6))
def test_the_sorry_page_is_open_to_the_networks_given_and_nobody_else(count: int) -> None:
    networks = [f"10.{number}.0.0/16" for number in range(count)]
    stack = expanded(NLB_ALB | {"SorryIngressCidrs": ", ".join(networks)})
    [(name, group)] = of_type(stack, "AWS::EC2::SecurityGroup").items()
    open_to = [
        (rule["CidrIp"], rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in group["SecurityGroupIngress"]
    ]
    assert open_to == [(network, "tcp", 443, 443) for network in networks]
    [balancer] = of_type(stack, "AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    assert balancer["SecurityGroups"] == [stack["Resources"][name]["Ref"]]
    assert balancer["Subnets"] == SORRY_ALB["SorrySubnetIds"].split(",")


def _with_its_sorry_alb(shop: Shop, **parameters: str) -> None:
    """Deploy the stack with a sorry ALB of its own."""
    shop.deployed(
        SorryTargetGroupArns="",
        SorryVpcId=shop.service.vpc_id,
        SorrySubnetIds=",".join(shop.service.subnet_ids),
        SorryIngressCidrs="0.0.0.0/0",
        SorryCertificateArn=next(iter(shop.account.elb.certificates)),
        **parameters,
    )


@pytest.mark.parametrize(("port", "listens_on"), [("443", 443), ("80", 80)])
def test_visitors_of_a_dead_service_get_the_page_of_the_sorry_alb(
    new_shop: Callable[..., Shop], port: str, listens_on: int
) -> None:
    shop = new_shop(ports=(listens_on,))
    _with_its_sorry_alb(shop, SorryPort=port)
    shop.minutes(3)
    made = shop.stack.outputs["SorryTargetGroupArn"]
    assert list(shop.account.targets.health(made).values()) == ["healthy"]
    with NlbPlane(shop.account, shop.service.listener_arn) as traffic:
        assert fetched(traffic.url)[0] == 200
        shop.stops()
        status, page = fetched(traffic.url)
    assert status == 503
    assert "ただいまサービスを停止しています" in page
    assert "We are sorry" in page
    assert shop.serves == [made]


def test_the_stack_with_its_sorry_alb_is_removed_as_the_readme_says(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    _with_its_sorry_alb(shop)
    shop.minutes(5)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [typed] = re.findall(r"`aws elbv2 modify-listener (--listener-arn LISTENER --default-actions Type=[^`]+)`", readme)
    assert readme.index("Then write a hold") < readme.index(typed) < readme.index("`sam delete --stack-name STACK`")
    shop.held(60, "the stack goes")
    _, _, _, action = typed.replace("PRIMARY", shop.service.primary_arn).split()
    given = dict(pair.split("=") for pair in action.split(","))
    for listener in shop.service.listener_arns:
        shop.account.client("elbv2").modify_listener(ListenerArn=listener, DefaultActions=[given])
    shop.minutes(5)
    cloudformation.delete(shop.account, shop.stack)
    assert shop.serves == ["primary"]


def fetched(url: str) -> tuple[int, str]:
    """Return status and text of a page, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # on this machine
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
