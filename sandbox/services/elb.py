"""Elastic Load Balancing where moto is kinder: load balancers, target groups, listeners, rules and what AWS refuses."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from moto.elbv2 import models

from sandbox.frontdoor import FrontDoor
from sandbox.services.elb_routing import refused, values_of, weights
from sandbox.wire import Answer, Refusal

# Which protocols of target groups a listener can forward to.
_FORWARDS_TO = {
    "TCP": {"TCP", "TCP_UDP"},
    "UDP": {"UDP", "TCP_UDP"},
    "TCP_UDP": {"TCP_UDP"},
    "TLS": {"TCP", "TLS"},
    "HTTP": {"HTTP", "HTTPS"},
    "HTTPS": {"HTTP", "HTTPS"},
}
# D1: the keys that a target group attribute can have (2026-11).
_ATTRIBUTES = {
    "deregistration_delay.connection_termination.enabled",
    "deregistration_delay.timeout_seconds",
    "lambda.multi_value_headers.enabled",
    "load_balancing.algorithm.anomaly_mitigation",
    "load_balancing.algorithm.type",
    "load_balancing.cross_zone.enabled",
    "preserve_client_ip.enabled",
    "proxy_protocol_v2.enabled",
    "send_tcp_reset.on_deregistration.enabled",
    "send_tcp_reset.on_unhealthy.enabled",
    "slow_start.duration_seconds",
    "stickiness.app_cookie.cookie_name",
    "stickiness.app_cookie.duration_seconds",
    "stickiness.enabled",
    "stickiness.lb_cookie.duration_seconds",
    "stickiness.type",
    "target_failover.on_deregistration",
    "target_failover.on_unhealthy",
    "target_group_health.dns_failover.minimum_healthy_targets.count",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
    "target_health_state.unhealthy.connection_termination.enabled",
    "target_health_state.unhealthy.draining_interval_seconds",
}


class _Action(models.FakeAction):  # type: ignore[misc]
    """An action as the API returns it: one group shows as TargetGroupArn and as ForwardConfig, several do not."""

    def __init__(self, data: dict[str, Any]) -> None:
        if data.get("Type") == "forward":
            groups = weights(data)
            sticky = {"TargetGroupStickinessConfig": {"Enabled": False}}  # shown also where nobody has set it
            data = {**data, "ForwardConfig": {**sticky, **data.get("ForwardConfig", {}), "TargetGroups": groups}}
            if len(groups) == 1:
                data["TargetGroupArn"] = groups[0]["TargetGroupArn"]
        super().__init__(data)


models.FakeAction = _Action


class Rule(NamedTuple):
    """A rule as the load balancer follows it."""

    arn: str
    priority: Any  # an integer, or "default"
    conditions: list[dict[str, Any]]
    actions: list[Any]


models.register_certificate = lambda **_: None  # whether there is such a certificate is judged here


class Elb:
    """The load balancers of one account; their targets are in elb_targets."""

    def __init__(self, account: FrontDoor) -> None:
        self._account = account
        # What a test may set.
        self.late_reads = 0  # so many reads of listeners after each change still show what was before (Q8)
        self.refuse_mixed_weighted_action = False  # A5: instance and ALB groups in one weighted action
        self.certificates = {account.arn("acm", "certificate/00000000-0000-4000-8000-000000000001")}
        self.values_per_condition = 3  # N23; 5 if only the limit of the rule holds
        self.rule_lags: dict[str, float] = {}  # N20: operation -> seconds until the load balancer follows it
        self._before: list[tuple[float, dict[str, Rule]]] = []  # the rules before each change, and when it was made
        for operation, fn in {
            "CreateLoadBalancer": self._create_load_balancer,
            "SetSubnets": self._set_subnets,
            "CreateTargetGroup": self._check_target_group,
            "ModifyTargetGroupAttributes": self._check_attributes,
            "CreateListener": self._check_new_listener,
            "ModifyListener": self._check_listener,
            "CreateRule": self._create_rule,
            "ModifyRule": self._check_rule,
            "SetRulePriorities": self._set_rule_priorities,
            "AddTags": self._check_tags,
            "DescribeTags": _check_question,
        }.items():
            account.override("elbv2", operation, fn)
        account.after("elbv2", "ModifyTargetGroup", self._keep_matcher)
        account.around("elbv2", "DescribeListeners", self._describe_listeners)
        self._late = 0
        self._shown: dict[str, list[Any]] = {}  # listener ARN -> the default action before the last change
        account.around("elbv2", "DescribeRules", self._show_both_forms)

    @property
    def backend(self) -> Any:
        """Moto's backend of load balancing."""
        return self._account.backend("elbv2")

    # Lookups.

    def listener(self, arn: str) -> Any:
        """Return moto's listener; Refusal ListenerNotFound if there is none."""
        return self.backend.describe_listeners(None, [arn])[0]

    def load_balancer(self, arn: str) -> Any:
        """Return moto's load balancer; Refusal LoadBalancerNotFound if there is none."""
        found = self.backend.load_balancers.get(arn)
        if found is None:
            raise Refusal("LoadBalancerNotFound", f"Load balancer '{arn}' not found")
        return found

    def group(self, arn: str) -> Any:
        """Return moto's target group; Refusal TargetGroupNotFound if there is none."""
        found = self.backend.target_groups.get(arn)
        if found is None:
            raise Refusal("TargetGroupNotFound", f"Target group '{arn}' not found")
        return found

    def rules(self) -> Iterator[tuple[Any, Any, Any]]:
        """Yield load balancer, listener and rule of every rule, default ones too."""
        for balancer in self.backend.load_balancers.values():
            for listener in balancer.listeners.values():
                for rule in listener.rules.values():
                    yield balancer, listener, rule

    def used(self) -> dict[str, set[str]]:
        """Return target group ARN -> ARNs of the load balancers that use it; at weight 0 it is in use too (A11)."""
        used: dict[str, set[str]] = {}
        for balancer, _, rule in self.rules():
            for action in rule.actions:
                for group in weights(action.data):
                    used.setdefault(group["TargetGroupArn"], set()).add(balancer.arn)
        return used

    def zones(self, group_arn: str) -> set[str]:
        """Return the zones that are enabled for the load balancers that use a group, none if nobody uses it."""
        balancers = [self.load_balancer(arn) for arn in self.used().get(group_arn, ())]
        return {subnet.availability_zone for balancer in balancers for subnet in balancer.subnets}

    def weights(self, listener_arn: str) -> dict[str, int]:
        """Return target group ARN -> weight of a listener's default action."""
        groups = weights(self.listener(listener_arn).default_actions[-1].data)
        return {group["TargetGroupArn"]: group["Weight"] for group in groups}

    # Load balancers and target groups.

    def _create_load_balancer(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        kind = params.get("Type", "application")
        created = self.backend.create_load_balancer(
            name=params["Name"],
            security_groups=params.get("SecurityGroups", []),
            subnet_ids=params.get("Subnets", []),
            subnet_mappings=params.get("SubnetMappings", []),
            scheme=params.get("Scheme", "internet-facing"),
            loadbalancer_type=kind,
            ip_address_type=params.get("IpAddressType", "ipv4"),
        )
        del self.backend.load_balancers[created.arn]
        short_id = created.arn.rsplit("/", 1)[1]
        zone = f"{self._account.region}.elb" if kind == "application" else f"elb.{self._account.region}"
        created.dns_name = f"{created.name}-{short_id}.{zone}.amazonaws.com"
        if kind == "network":
            # The ARN of a Network Load Balancer, of its listeners and their rules has net/ (L1).
            created.arn = created.arn.replace(":loadbalancer/app/", ":loadbalancer/net/")
        self.backend.load_balancers[created.arn] = created
        self.backend.tagging_service.tag_resource(created.arn, params.get("Tags"))
        return {"LoadBalancers": [created]}

    def _set_subnets(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        # The zones of a load balancer are those of its subnets, one of each; moto asks for two also for an NLB.
        balancer = self.load_balancer(params["LoadBalancerArn"])
        mapped = [mapping["SubnetId"] for mapping in params.get("SubnetMappings", [])]
        ec2 = self._account.backend("ec2")
        subnets = [ec2.get_subnet(subnet_id) for subnet_id in params.get("Subnets", []) + mapped]
        zones = {subnet.availability_zone for subnet in subnets}
        if len(zones) < len(subnets):
            raise Refusal("InvalidConfigurationRequest", "A load balancer cannot be attached to two subnets of a zone")
        if len(zones) < (1 if balancer.type == "network" else 2):
            raise Refusal("InvalidConfigurationRequest", "At least two subnets in two zones must be specified")
        balancer.subnets = subnets
        return {"AvailabilityZones": balancer.availability_zones}

    def _check_target_group(self, params: dict[str, Any], _principal: str) -> None:
        kind = params.get("TargetType", "instance")
        if kind == "alb" and params.get("Protocol") != "TCP":  # C1
            raise Refusal("ValidationError", "Protocol must be TCP for target groups with target type 'alb'")
        if kind == "alb" and params.get("HealthCheckProtocol", "HTTP") not in ("HTTP", "HTTPS"):  # C2
            raise Refusal("ValidationError", "Health check protocol must be HTTP or HTTPS for target type 'alb'")
        if kind != "lambda" and params.get("HealthCheckEnabled") is False:  # D2
            raise Refusal("ValidationError", f"Health check enabled must be true for target type '{kind}'")

    def _keep_matcher(self, params: dict[str, Any]) -> None:
        if "Matcher" in params:
            self.group(params["TargetGroupArn"]).matcher = params["Matcher"]

    def _check_attributes(self, params: dict[str, Any], _principal: str) -> None:
        group = self.group(params["TargetGroupArn"])
        if group.target_type == "alb":  # C5
            raise Refusal("InvalidConfigurationRequest", "Attributes of target type 'alb' cannot be modified")
        for attribute in params["Attributes"]:
            if attribute["Key"] not in _ATTRIBUTES:  # D1
                raise Refusal("ValidationError", f"Target group attribute key '{attribute['Key']}' is not recognized")

    def _check_tags(self, params: dict[str, Any], _principal: str) -> None:
        # The service model's TagKey and TagValue; tags of a resource: at most 50.
        for tag in params["Tags"]:
            for text, limit in ((tag["Key"], 128), (tag.get("Value", ""), 256)):
                if len(text) > limit or not all(
                    sign.isalnum() or sign.isspace() or sign in "_.:/=+-@" for sign in text
                ):
                    raise Refusal("ValidationError", f"The tag '{text}' is too long or has a character it cannot have")
        for arn in params["ResourceArns"]:
            held = self.backend.tagging_service.get_tag_dict_for_resource(arn)
            if len(held.keys() | {tag["Key"] for tag in params["Tags"]}) > 50:
                raise Refusal("TooManyTags", f"A resource can have at most 50 tags: '{arn}'")

    # Listeners, rules and what they may forward to.

    def _check_new_listener(self, params: dict[str, Any], _principal: str) -> None:
        balancer = self.load_balancer(params["LoadBalancerArn"])
        port = params.get("Port")
        if any(listener.port == port for listener in balancer.listeners.values()):
            raise Refusal("DuplicateListener", f"A listener already exists on port {port} for this load balancer")
        if params.get("Protocol") in ("HTTPS", "TLS"):
            arns = [certificate["CertificateArn"] for certificate in params.get("Certificates", [])]
            if not arns:
                raise Refusal("ValidationError", f"A certificate must be specified for {params['Protocol']} listeners")
            if unknown := [arn for arn in arns if arn not in self.certificates]:
                raise Refusal("CertificateNotFound", f"Certificate '{unknown[0]}' not found")
        self._check_actions(balancer, params.get("Protocol", ""), params["DefaultActions"])

    def _check_listener(self, params: dict[str, Any], _principal: str) -> None:
        listener = self.listener(params["ListenerArn"])
        balancer = self.load_balancer(listener.load_balancer_arn)
        port = params.get("Port", listener.port)
        if any(other.port == port and other is not listener for other in balancer.listeners.values()):
            raise Refusal("DuplicateListener", f"A listener already exists on port {port} for this load balancer")
        if "DefaultActions" in params:
            self._check_actions(balancer, params.get("Protocol", listener.protocol), params["DefaultActions"])
            self._late = self.late_reads
            self._shown[listener.arn] = list(listener.default_actions)

    def _describe_listeners(self, params: dict[str, Any], serve: Callable[[], Answer]) -> Answer:
        for arn in params.get("ListenerArns", []):
            self.listener(arn)  # Q10: one that does not exist is a refusal, whatever else is asked
        if not self._late:
            self._shown.clear()
            return serve()
        self._late -= 1
        listeners = [held for balancer in self.backend.load_balancers.values() for held in balancer.listeners.values()]
        real = [(listener, listener.default_actions) for listener in listeners]
        try:
            for listener, now in real:
                listener.default_actions = self._shown.get(listener.arn, now)
            return serve()
        finally:
            for listener, now in real:
                listener.default_actions = now

    def _create_rule(self, params: dict[str, Any], _principal: str) -> dict[str, Any] | None:
        listener = self.listener(params["ListenerArn"])
        balancer = self.load_balancer(listener.load_balancer_arn)
        _check_priority(params["Priority"])
        self._check_actions(balancer, listener.protocol, params["Actions"])
        if balancer.type != "network":
            self._check_conditions(params["Conditions"])
            return None
        # A16: rules of a Network Load Balancer know one condition, which moto does not.
        conditions = params["Conditions"]
        if [condition.get("Field") for condition in conditions] != ["source-ip"]:
            raise Refusal("ValidationError", "A Network Load Balancer rule has one condition of type 'source-ip'")
        if any(rule.priority == params["Priority"] for rule in listener.rules.values()):
            raise Refusal("PriorityInUse", f"Priority '{params['Priority']}' is currently in use")
        arn = f"{listener.arn.replace(':listener/', ':listener-rule/')}/{id(conditions):016x}"
        actions = [_Action(given) for given in params["Actions"]]
        rule = models.FakeListenerRule(listener.arn, arn, conditions, params["Priority"], actions)
        listener.register(arn, rule)
        return {"Rules": [rule]}

    def _check_rule(self, params: dict[str, Any], _principal: str) -> None:
        rule = self.backend.describe_rules(None, [params["RuleArn"]])[0]
        listener = self.listener(rule.listener_arn)
        if "Actions" in params:
            balancer = self.load_balancer(listener.load_balancer_arn)
            self._check_actions(balancer, listener.protocol, params["Actions"])
        if "Conditions" in params and "/app/" in rule.arn:
            self._check_conditions(params["Conditions"])
        self._change_begins()

    def _check_conditions(self, conditions: list[dict[str, Any]]) -> None:
        if problem := refused(conditions, self.values_per_condition):
            raise Refusal("ValidationError", problem)

    def _change_begins(self) -> None:
        self._before.append((self._account.clock.time(), {rule.arn: self._as_is(rule) for _, _, rule in self.rules()}))

    @staticmethod
    def _as_is(rule: Any) -> Rule:
        return Rule(getattr(rule, "arn", ""), rule.priority, rule.conditions, rule.actions)

    def in_force(self, listener: Any) -> list[Rule]:
        """Return the rules that a listener follows: a change counts once the lag of its operation is over."""
        return [
            Rule(
                now.arn,
                self._then(now, "SetRulePriorities").priority,
                self._then(now, "ModifyRule").conditions,
                self._then(now, "ModifyRule").actions,
            )
            for now in map(self._as_is, listener.rules.values())
        ]

    def _then(self, now: Rule, operation: str) -> Rule:
        """Return the rule as it was when changes by this operation that are older than its lag had been made."""
        since = self._account.clock.time() - self.rule_lags.get(operation, 0)
        return next((before[now.arn] for made, before in self._before if made > since and now.arn in before), now)

    def _show_both_forms(self, _params: dict[str, Any], serve: Callable[[], Answer]) -> Answer:
        # N18: what was given in one form is shown in both.
        for _, _, rule in self.rules():
            for condition in rule.conditions:
                if condition["Field"] in ("path-pattern", "host-header"):
                    config = {"path-pattern": "PathPatternConfig", "host-header": "HostHeaderConfig"}
                    condition["Values"] = values_of(condition)
                    condition[config[condition["Field"]]] = {"Values": values_of(condition)}
        return serve()

    def _check_actions(self, balancer: Any, protocol: str, actions: list[dict[str, Any]]) -> None:
        for action in actions:
            if action["Type"] == "forward":
                self._check_forward(balancer, protocol, action)
            elif balancer.type == "network":
                raise Refusal(
                    "InvalidLoadBalancerAction",
                    f"Actions of type '{action['Type']}' are not supported for listeners of a Network Load Balancer",
                )

    def _check_forward(self, balancer: Any, protocol: str, action: dict[str, Any]) -> None:
        listed = action.get("ForwardConfig", {}).get("TargetGroups", [])
        if not listed and "TargetGroupArn" not in action:
            raise Refusal("ValidationError", "A target group must be specified for an action of type 'forward'")
        if (
            listed
            and "TargetGroupArn" in action
            and [entry["TargetGroupArn"] for entry in listed] != [action["TargetGroupArn"]]
        ):  # A2
            raise Refusal(
                "InvalidLoadBalancerAction",
                "You cannot specify both a target group ARN and a forward config with other target groups",
            )
        for entry in listed:  # A3
            if len(listed) > 1 and "Weight" not in entry:
                raise Refusal("ValidationError", "A weight must be specified for each target group")
            if not 0 <= entry.get("Weight", 1) <= 999:
                raise Refusal(
                    "ValidationError", f"Target group weight '{entry['Weight']}' must be between 0 and 999 inclusive"
                )
        arns = [entry["TargetGroupArn"] for entry in weights(action)]
        if len(set(arns)) != len(arns):
            raise Refusal("ValidationError", "A target group can be specified only once in an action")
        groups = [self.group(arn) for arn in arns]
        for group in groups:
            self._check_group(balancer, protocol, group)
        if protocol == "TLS" and len({group.protocol for group in groups}) > 1:  # A4
            raise Refusal("IncompatibleProtocols", "The target groups of a TLS listener must have the same protocol")
        stickiness = action.get("ForwardConfig", {}).get("TargetGroupStickinessConfig", {})
        sticky = stickiness.get("Enabled", False)
        if balancer.type == "network" and "DurationSeconds" in stickiness:  # Q2
            raise Refusal("InvalidConfigurationRequest", "A stickiness duration cannot be specified for a NLB listener")
        if sticky and protocol == "TLS":  # Q3
            raise Refusal("InvalidLoadBalancerAction", "Target group stickiness is not supported for TLS listeners")
        if len(groups) > 1 and not sticky and any(g.attributes.get("stickiness.enabled") == "true" for g in groups):
            raise Refusal(  # A4, Q3
                "InvalidLoadBalancerAction",
                "Target group stickiness must be enabled for the action if a target group has stickiness enabled",
            )
        kinds = {group.target_type for group in groups}
        if self.refuse_mixed_weighted_action and len(kinds) > 1 and "alb" in kinds:  # A5
            raise Refusal(
                "InvalidLoadBalancerAction",
                "A target group with target type 'alb' cannot be combined with other target types in one action",
            )

    def _check_group(self, balancer: Any, protocol: str, group: Any) -> None:
        if group.target_type == "alb" and protocol != "TCP":  # C3, A17
            raise Refusal(
                "IncompatibleProtocols", f"A listener of protocol '{protocol}' cannot forward to target type 'alb'"
            )
        if group.target_type == "lambda":
            if balancer.type == "network":
                raise Refusal("InvalidConfigurationRequest", "Target type 'lambda' needs an Application Load Balancer")
        elif group.protocol not in _FORWARDS_TO.get(protocol, set()):
            raise Refusal(
                "IncompatibleProtocols",
                f"The listener protocol '{protocol}' and target group protocol '{group.protocol}' are incompatible",
            )
        elif group.vpc_id != balancer.vpc_id:
            raise Refusal(
                "InvalidConfigurationRequest",
                f"The target group '{group.arn}' and load balancer '{balancer.arn}' must be in the same VPC",
            )
        if self.used().get(group.arn, set()) - {balancer.arn}:  # A7
            raise Refusal(
                "TargetGroupAssociationLimit",
                "The following target groups cannot be associated with more than one load balancer: " + group.arn,
            )

    def _set_rule_priorities(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        # H1: judged on the final order, all or nothing; a swap and a no-op are fine.
        wanted = {wish["RuleArn"]: wish["Priority"] for wish in params["RulePriorities"]}
        rules = {rule.arn: rule for _, _, rule in self.rules()}
        for arn, priority in wanted.items():
            if arn not in rules:
                raise Refusal("RuleNotFound", "One or more rules not found")
            if rules[arn].priority == "default":
                raise Refusal("OperationNotPermitted", f"Default rule '{arn}' cannot be modified")
            _check_priority(priority)
        for listener_arn in {rules[arn].listener_arn for arn in wanted}:
            final = [
                wanted.get(rule.arn, rule.priority)
                for rule in rules.values()
                if rule.listener_arn == listener_arn and rule.priority != "default"
            ]
            taken = {priority for priority in final if final.count(priority) > 1}
            if taken:
                raise Refusal("PriorityInUse", f"Priority '{min(taken)}' is currently in use")
        self._change_begins()
        for arn, priority in wanted.items():
            rules[arn].priority = priority
        return {"Rules": [rules[arn] for arn in wanted]}


def _check_priority(priority: int) -> None:
    if not 1 <= priority <= 50000:  # H1
        raise Refusal("ValidationError", f"Priority '{priority}' must be between 1 and 50000")


def _check_question(params: dict[str, Any], _principal: str) -> None:
    if len(params["ResourceArns"]) > 20:  # S17
        raise Refusal("ValidationError", "The tags of at most 20 resources can be described at once")
