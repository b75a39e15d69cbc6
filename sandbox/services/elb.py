"""Elastic Load Balancing as AWS does it, where moto is kinder: refusals, target health and its life cycle."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.elbv2 import models

from sandbox.clock import Timer
from sandbox.services.delivery import DeliveryError
from sandbox.traffic import routing as traffic
from sandbox.traffic.routing import Found, weights
from sandbox.traffic.visits import Page, Visit
from sandbox.wire import Answer, Refusal

if TYPE_CHECKING:
    from sandbox.account import Account

REASONS = {
    "Target.NotInUse": "Target group is not configured to receive traffic from the load balancer",
    "Target.InvalidState": "Target is in the stopped state",
    "Target.NotRegistered": "Target is not registered to the target group",
    "Target.DeregistrationInProgress": "Target deregistration is in progress",
    "Target.FailedHealthChecks": "Health checks failed",
    "Target.ResponseCodeMismatch": "Health checks failed with these codes: [{}]",
    "Target.HealthCheckDisabled": "Health checks are disabled for this target",
    "Elb.RegistrationInProgress": "Target registration is in progress",
    "Elb.InitialHealthChecking": "Initial health checks in progress",
}
# Which protocols of target groups a listener can forward to.
FORWARDS_TO = {
    "TCP": {"TCP", "TCP_UDP"},
    "UDP": {"UDP", "TCP_UDP"},
    "TCP_UDP": {"TCP_UDP"},
    "TLS": {"TCP", "TLS"},
    "HTTP": {"HTTP", "HTTPS"},
    "HTTPS": {"HTTP", "HTTPS"},
}
# D: the keys that a target group attribute can have (2026-11).
ATTRIBUTES = {
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


class Action(models.FakeAction):  # type: ignore[misc]
    """An action as the API returns it: one group shows as TargetGroupArn and as ForwardConfig, several do not."""

    def __init__(self, data: dict[str, Any]) -> None:
        if data.get("Type") == "forward":
            groups = weights(data)
            data = {**data, "ForwardConfig": {**data.get("ForwardConfig", {}), "TargetGroups": groups}}
            if len(groups) == 1:
                data["TargetGroupArn"] = groups[0]["TargetGroupArn"]
        super().__init__(data)


models.FakeAction = Action
models.register_certificate = lambda **_: None  # whether there is such a certificate is judged here


@dataclass
class Target:
    """A registered target and what its health checks have found so far."""

    id: str
    port: int | None
    zone: str | None = None
    state: str = "initial"
    reason: str = "Elb.RegistrationInProgress"
    codes: str = ""
    streak: int = 0  # so many checks in a row that contradict the state
    timer: Timer | None = field(default=None, repr=False)


class Elb:
    """The load balancers of one account."""

    def __init__(self, account: "Account") -> None:
        self.account = account
        # What a test may set.
        self.refuse_mixed_weighted_action = False  # A5: instance and ALB groups in one weighted action
        self.broken_albs: set[str] = set()  # ARNs of ALBs that answer nothing
        self.certificates = {account.arn("acm", "certificate/00000000-0000-4000-8000-000000000001")}
        self.nlb_tail_seconds = 0.0  # how long a Network Load Balancer still sends connections to who has left (E13)
        self._targets: dict[str, dict[tuple[str, int | None], Target]] = {}
        self._tails: dict[tuple[str, tuple[str, int | None]], tuple[Target, float]] = {}
        for operation, fn in {
            "CreateLoadBalancer": self._create_load_balancer,
            "DeleteLoadBalancer": self._check_load_balancer_is_free,
            "CreateTargetGroup": self._check_target_group,
            "ModifyTargetGroupAttributes": self._check_attributes,
            "CreateListener": self._check_new_listener,
            "ModifyListener": self._check_listener,
            "CreateRule": self._create_rule,
            "ModifyRule": self._check_rule,
            "SetRulePriorities": self._set_rule_priorities,
            "RegisterTargets": self._register,
            "DeregisterTargets": self._deregister,
            "DescribeTargetHealth": self._describe_health,
            "AddTags": self._check_tags,
        }.items():
            account.override("elbv2", operation, fn)
        for operation in (
            "CreateListener",
            "ModifyListener",
            "DeleteListener",
            "CreateRule",
            "ModifyRule",
            "DeleteRule",
            "DeleteLoadBalancer",
        ):
            account.around("elbv2", operation, self._and_reconsider)
        account.around("elbv2", "ModifyTargetGroup", self._modify_target_group)
        account.after("elbv2", "DeleteTargetGroup", self._delete_target_group)

    @property
    def backend(self) -> Any:
        return self.account.backend("elbv2")

    # Lookups.

    def listener(self, arn: str) -> Any:
        return self.backend.describe_listeners(None, [arn])[0]

    def load_balancer(self, arn: str) -> Any:
        found = self.backend.load_balancers.get(arn)
        if found is None:
            raise Refusal("LoadBalancerNotFound", f"Load balancer '{arn}' not found")
        return found

    def group(self, arn: str) -> Any:
        """Return moto's target group."""
        found = self.backend.target_groups.get(arn)
        if found is None:
            raise Refusal("TargetGroupNotFound", f"Target group '{arn}' not found")
        return found

    def _rules(self) -> Iterator[tuple[Any, Any, Any]]:
        for balancer in self.backend.load_balancers.values():
            for listener in balancer.listeners.values():
                for rule in listener.rules.values():
                    yield balancer, listener, rule

    def _used(self) -> dict[str, set[str]]:
        """Return target group ARN -> ARNs of the load balancers that use it; at weight 0 it is in use too (A11)."""
        used: dict[str, set[str]] = {}
        for balancer, _, rule in self._rules():
            for action in rule.actions:
                for group in weights(action.data):
                    used.setdefault(group["TargetGroupArn"], set()).add(balancer.arn)
        return used

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
        zone = f"{self.account.region}.elb" if kind == "application" else f"elb.{self.account.region}"
        created.dns_name = f"{created.name}-{short_id}.{zone}.amazonaws.com"
        if kind == "network":
            # The ARN of a Network Load Balancer, of its listeners and their rules has net/ (L).
            created.arn = created.arn.replace(":loadbalancer/app/", ":loadbalancer/net/")
        self.backend.load_balancers[created.arn] = created
        self.backend.tagging_service.tag_resource(created.arn, params.get("Tags"))
        return {"LoadBalancers": [created]}

    def _check_load_balancer_is_free(self, params: dict[str, Any], _principal: str) -> None:
        # C5: an ALB that is registered as a target cannot be deleted.
        arn = params["LoadBalancerArn"]
        held = [one for targets in self._targets.values() for one in targets.values()]
        if any(one.id == arn and one.state != "draining" for one in held):
            raise Refusal("ResourceInUse", f"Load balancer '{arn}' is registered as a target")

    def _check_target_group(self, params: dict[str, Any], _principal: str) -> None:
        kind = params.get("TargetType", "instance")
        if kind == "alb" and params.get("Protocol") != "TCP":  # C1
            raise Refusal("ValidationError", "Protocol must be TCP for target groups with target type 'alb'")
        if kind == "alb" and params.get("HealthCheckProtocol", "HTTP") not in ("HTTP", "HTTPS"):  # C2
            raise Refusal("ValidationError", "Health check protocol must be HTTP or HTTPS for target type 'alb'")
        if kind != "lambda" and params.get("HealthCheckEnabled") is False:  # D 000
            raise Refusal("ValidationError", f"Health check enabled must be true for target type '{kind}'")

    def _delete_target_group(self, params: dict[str, Any]) -> None:
        for target in self._targets.pop(params["TargetGroupArn"], {}).values():
            if target.timer:
                target.timer.cancel()

    def _modify_target_group(self, params: dict[str, Any], serve: Callable[[], Answer]) -> Answer:
        answered = serve()
        if answered[0] < 400 and "Matcher" in params:
            self.group(params["TargetGroupArn"]).matcher = params["Matcher"]
        return answered

    def _check_attributes(self, params: dict[str, Any], _principal: str) -> None:
        group = self.group(params["TargetGroupArn"])
        if group.target_type == "alb":  # C5
            raise Refusal("InvalidConfigurationRequest", "Attributes of target type 'alb' cannot be modified")
        for one in params["Attributes"]:
            if one["Key"] not in ATTRIBUTES:  # D 000
                raise Refusal("ValidationError", f"Target group attribute key '{one['Key']}' is not recognized")

    def _check_tags(self, params: dict[str, Any], _principal: str) -> None:
        # The service model's TagKey and TagValue; tags of a resource: at most 50.
        for tag in params["Tags"]:
            for text, limit in ((tag["Key"], 128), (tag.get("Value", ""), 256)):
                if len(text) > limit or not all(one.isalnum() or one.isspace() or one in "_.:/=+-@" for one in text):
                    raise Refusal("ValidationError", f"The tag '{text}' is too long or has a character it cannot have")
        for arn in params["ResourceArns"]:
            held = self.backend.tagging_service.get_tag_dict_for_resource(arn)
            if len(held.keys() | {tag["Key"] for tag in params["Tags"]}) > 50:
                raise Refusal("TooManyTags", f"A resource can have at most 50 tags: '{arn}'")

    # Listeners, rules and what they may forward to.

    def _and_reconsider(self, _params: dict[str, Any], serve: Callable[[], Answer]) -> Answer:
        answered = serve()
        self._reconsider()
        return answered

    def _check_new_listener(self, params: dict[str, Any], _principal: str) -> None:
        balancer = self.load_balancer(params["LoadBalancerArn"])
        port = params.get("Port")
        if any(listener.port == port for listener in balancer.listeners.values()):
            raise Refusal("DuplicateListener", f"A listener already exists on port {port} for this load balancer")
        if params.get("Protocol") in ("HTTPS", "TLS"):
            arns = [one["CertificateArn"] for one in params.get("Certificates", [])]
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

    def _create_rule(self, params: dict[str, Any], _principal: str) -> dict[str, Any] | None:
        listener = self.listener(params["ListenerArn"])
        balancer = self.load_balancer(listener.load_balancer_arn)
        _check_priority(params["Priority"])
        self._check_actions(balancer, listener.protocol, params["Actions"])
        if balancer.type != "network":
            return None
        # A16: rules of a Network Load Balancer know one condition, which moto does not.
        conditions = params["Conditions"]
        if [one.get("Field") for one in conditions] != ["source-ip"]:
            raise Refusal("ValidationError", "A Network Load Balancer rule has one condition of type 'source-ip'")
        if any(rule.priority == params["Priority"] for rule in listener.rules.values()):
            raise Refusal("PriorityInUse", f"Priority '{params['Priority']}' is currently in use")
        arn = f"{listener.arn.replace(':listener/', ':listener-rule/')}/{id(conditions):016x}"
        actions = [Action(one) for one in params["Actions"]]
        rule = models.FakeListenerRule(listener.arn, arn, conditions, params["Priority"], actions)
        listener.register(arn, rule)
        return {"Rules": [rule]}

    def _check_rule(self, params: dict[str, Any], _principal: str) -> None:
        rule = self.backend.describe_rules(None, [params["RuleArn"]])[0]
        listener = self.listener(rule.listener_arn)
        if "Actions" in params:
            balancer = self.load_balancer(listener.load_balancer_arn)
            self._check_actions(balancer, listener.protocol, params["Actions"])

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
            and [one["TargetGroupArn"] for one in listed] != [action["TargetGroupArn"]]
        ):  # A2
            raise Refusal(
                "InvalidLoadBalancerAction",
                "You cannot specify both a target group ARN and a forward config with other target groups",
            )
        for one in listed:  # A3
            if len(listed) > 1 and "Weight" not in one:
                raise Refusal("ValidationError", "A weight must be specified for each target group")
            if not 0 <= one.get("Weight", 1) <= 999:
                raise Refusal(
                    "ValidationError", f"Target group weight '{one['Weight']}' must be between 0 and 999 inclusive"
                )
        arns = [one["TargetGroupArn"] for one in weights(action)]
        if len(set(arns)) != len(arns):
            raise Refusal("ValidationError", "A target group can be specified only once in an action")
        groups = [self.group(arn) for arn in arns]
        for group in groups:
            self._check_group(balancer, protocol, group)
        if protocol == "TLS" and len({group.protocol for group in groups}) > 1:  # A4
            raise Refusal("IncompatibleProtocols", "The target groups of a TLS listener must have the same protocol")
        sticky = action.get("ForwardConfig", {}).get("TargetGroupStickinessConfig", {}).get("Enabled", False)
        if len(groups) > 1 and not sticky and any(g.attributes.get("stickiness.enabled") == "true" for g in groups):
            raise Refusal(  # A4
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
        elif group.protocol not in FORWARDS_TO.get(protocol, set()):
            raise Refusal(
                "IncompatibleProtocols",
                f"The listener protocol '{protocol}' and target group protocol '{group.protocol}' are incompatible",
            )
        elif group.vpc_id != balancer.vpc_id:
            raise Refusal(
                "InvalidConfigurationRequest",
                f"The target group '{group.arn}' and load balancer '{balancer.arn}' must be in the same VPC",
            )
        if self._used().get(group.arn, set()) - {balancer.arn}:  # A7
            raise Refusal(
                "TargetGroupAssociationLimit",
                "The following target groups cannot be associated with more than one load balancer: " + group.arn,
            )

    def _set_rule_priorities(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        # H1: judged on the final order, all or nothing; a swap and a no-op are fine.
        wanted = {one["RuleArn"]: one["Priority"] for one in params["RulePriorities"]}
        rules = {rule.arn: rule for _, _, rule in self._rules()}
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
        for arn, priority in wanted.items():
            rules[arn].priority = priority
        return {"Rules": [rules[arn] for arn in wanted]}

    # Targets.

    def _register(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        group = self.group(params["TargetGroupArn"])
        held = self._targets.setdefault(group.arn, {})
        wanted = [_key(group, one) for one in params["Targets"]]
        for target_id, port in wanted:
            self._check_target(group, target_id, port, {*held, *wanted})
        zones = {_key(group, one): one.get("AvailabilityZone") for one in params["Targets"]}
        if group.target_type in ("instance", "alb") and any(zones.values()):
            kind = group.target_type
            raise Refusal("ValidationError", f"You cannot specify an Availability Zone for target type '{kind}'")
        for key in wanted:
            if key not in held or held[key].state == "draining":
                self._forget(group, key)
                held[key] = Target(*key, zone=zones[key])
        self._reconsider()
        return {}

    def _check_target(self, group: Any, target_id: str, port: int | None, all_keys: set[Any]) -> None:
        if group.target_type == "instance":
            instance = self.account.ec2.instance(target_id)
            if instance is None or instance.vpc_id != group.vpc_id:
                raise Refusal(
                    "InvalidTarget",
                    f"The following targets are not in the target group VPC '{group.vpc_id}': '{target_id}'",
                )
            if instance.state != "running":  # G11
                raise Refusal(
                    "InvalidTarget",
                    f"The following targets are not in a running state and cannot be registered: '{target_id}'",
                )
        if group.target_type == "lambda":
            self._check_function(group, target_id)
        if group.target_type == "alb":  # C1, C7
            balancer = self.backend.load_balancers.get(target_id)
            if balancer is None or balancer.type != "application" or balancer.vpc_id != group.vpc_id:
                raise Refusal("InvalidTarget", f"'{target_id}' is not an Application Load Balancer of this VPC")
            if port != group.port or all(listener.port != port for listener in balancer.listeners.values()):
                raise Refusal(
                    "InvalidTarget", f"The Application Load Balancer '{target_id}' has no listener on port {port}"
                )
            if len(all_keys) > 1:
                raise Refusal("TooManyTargets", "A target group with target type 'alb' can have one target")

    def _check_function(self, group: Any, function_arn: str) -> None:
        name = function_arn.rpartition(":function:")[2].split(":")[0]
        try:
            self.account.functions.check(name, principal=traffic.SERVICE, source_arn=group.arn)
        except DeliveryError as error:  # H7
            raise Refusal(
                "AccessDenied",
                f"elasticloadbalancing principal does not have permission to invoke {function_arn} "
                f"from target group {group.arn}",
            ) from error

    def _deregister(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        group = self.group(params["TargetGroupArn"])
        for one in params["Targets"]:
            # G11: an absent target is accepted; a port override must be named.
            self._drain(group, _key(group, one))
        self._reconsider()
        return {}

    def _drain(self, group: Any, key: tuple[str, int | None]) -> None:
        """Take a target out: draining for the deregistration delay where it may have had traffic (D 004)."""
        target = self._targets.get(group.arn, {}).get(key)
        if target is None or target.state == "draining":
            return
        state, reason, _ = self._health(group, target, self._used())
        self._forget(group, key)
        if state == "unused" and reason == "Target.NotInUse":
            return
        target.state, target.reason = "draining", "Target.DeregistrationInProgress"
        self._targets[group.arn][key] = target
        delay = float(group.attributes["deregistration_delay.timeout_seconds"])
        target.timer = self.account.clock.after(delay, lambda: self._forget(group, key))
        if any("/net/" in arn for arn in self._used().get(group.arn, ())):
            self._tails[group.arn, key] = (target, self.account.clock.time() + self.nlb_tail_seconds)

    def leave(self, group_arn: str, target_id: str) -> None:
        """Take a target out, as EC2 Auto Scaling does with an instance that enters Standby."""
        group = self.group(group_arn)
        for key in [key for key in self._targets.get(group_arn, {}) if key[0] == target_id]:
            self._drain(group, key)
        self._reconsider()

    def join(self, group_arn: str, target_id: str) -> None:
        """Register a target on the group's port, as EC2 Auto Scaling does."""
        self._register({"TargetGroupArn": group_arn, "Targets": [{"Id": target_id}]}, "")

    def _forget(self, group: Any, key: tuple[str, int | None]) -> None:
        target = self._targets.get(group.arn, {}).pop(key, None)
        if target and target.timer:
            target.timer.cancel()

    def instance_changed(self, instance_id: str, state: str) -> None:
        """Take note of an instance's new state."""
        if state == "terminated":
            for arn, targets in self._targets.items():
                for key in [key for key in targets if key[0] == instance_id]:
                    self._drain(self.group(arn), key)
        self._reconsider()

    # Target health.

    def _reconsider(self) -> None:
        """Start and stop health checks after anything that may have changed who is checked."""
        used = self._used()
        for group in self.backend.target_groups.values():
            group.load_balancer_arns = sorted(used.get(group.arn, ()))
            for target in self._targets.get(group.arn, {}).values():
                if target.state == "draining":
                    continue
                checked = group.arn in used and group.health_check_enabled and not self._stopped(target)
                if checked and target.timer is None:
                    self._schedule(group, target)
                elif not checked and target.timer:
                    target.timer.cancel()
                    target.timer, target.streak = None, 0
                    target.state, target.reason = "initial", "Elb.RegistrationInProgress"

    def _schedule(self, group: Any, target: Target) -> None:
        interval = float(group.health_check_interval_seconds)
        target.timer = self.account.clock.after(interval, lambda: self._check(group, target))

    def _check(self, group: Any, target: Target) -> None:
        """Do one health check and take the state on from it."""
        with self.account.lock:
            page = self._probe(group, target)
        if callable(page):
            page = page()
        with self.account.lock:
            if self._targets.get(group.arn, {}).get((target.id, target.port)) is target:
                self._schedule(group, target)
                self._judge(group, target, _failure(group, page))

    def _probe(self, group: Any, target: Target) -> Found:
        """Return the page with which a target answers its health check, None if it does not."""
        if group.target_type != "alb":
            return Page(200, b"") if self.answers(group, target) else None
        # C2: sent to the ALB and answered by its rules.
        listener = self.alb_listener(target)
        if listener is None or group.health_check_protocol != listener.protocol:
            return None
        return traffic.from_alb(self, listener, Visit(group.health_check_path or "/", agent="ELB-HealthChecker/2.0"))

    def _judge(self, group: Any, target: Target, failure: tuple[str, str] | None) -> None:
        found = "unhealthy" if failure else "healthy"
        if target.state == found:
            target.streak = 0
            return
        target.streak += 1
        needed = int(group.unhealthy_threshold_count if failure else group.healthy_threshold_count)
        if target.state == "initial":
            target.reason = "Elb.InitialHealthChecking"
            # B2: the first passed check is enough, whatever the threshold.
            needed = needed if failure else 1
        if target.streak >= needed:
            target.state, target.streak = found, 0
            target.reason, target.codes = failure or ("", "")

    def _stopped(self, target: Target) -> bool:
        instance = self.account.ec2.instance(target.id) if target.id.startswith("i-") else None
        return instance is not None and instance.state == "stopped"

    def _health(self, group: Any, target: Target | None, used: dict[str, set[str]]) -> tuple[str, str, str]:
        """Return state, reason and description of a target, as DescribeTargetHealth shows them (B1, B3)."""
        codes = ""
        if target is None:
            state, reason = "unused", "Target.NotRegistered"
        elif target.state == "draining":
            state, reason = target.state, target.reason
        elif group.arn not in used:
            state, reason = "unused", "Target.NotInUse"
        elif self._stopped(target):
            state, reason = "unused", "Target.InvalidState"
        elif not group.health_check_enabled:
            state, reason = "unavailable", "Target.HealthCheckDisabled"
        else:
            state, reason, codes = target.state, target.reason, target.codes
        return state, reason, REASONS.get(reason, "").format(codes)

    def health(self, group_arn: str) -> dict[str, str]:
        """Return target id -> state, for all targets of a group."""
        group, used = self.group(group_arn), self._used()
        return {one.id: self._health(group, one, used)[0] for one in self._targets.get(group_arn, {}).values()}

    def weights(self, listener_arn: str) -> dict[str, int]:
        """Return target group ARN -> weight of a listener's default action."""
        groups = weights(self.listener(listener_arn).default_actions[-1].data)
        return {group["TargetGroupArn"]: group["Weight"] for group in groups}

    def _describe_health(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        group, used = self.group(params["TargetGroupArn"]), self._used()
        held = self._targets.get(group.arn, {})
        keys = [_key(group, one) for one in params["Targets"]] if params.get("Targets") else list(held)
        descriptions = []
        for key in keys:
            state, reason, description = self._health(group, held.get(key), used)
            target = {"Id": key[0]} | ({"Port": key[1]} if key[1] is not None else {})
            if (found := held.get(key)) and found.zone:
                target["AvailabilityZone"] = found.zone
            health = {"State": state} | ({"Reason": reason, "Description": description} if reason else {})
            check_port = group.health_check_port
            check_port = str(key[1]) if check_port in (None, "traffic-port") else str(check_port)
            descriptions.append({"Target": target, "HealthCheckPort": check_port, "TargetHealth": health})
        return {"TargetHealthDescriptions": descriptions}

    def publish(self, put: Callable[..., None]) -> None:
        """Publish the host counts of the minute (F1), never for ALB-type groups (C5)."""
        for arn, balancers in self._used().items():
            group = self.group(arn)
            states = [one for one in self.health(arn).values() if one != "draining"]
            if group.target_type in ("alb", "lambda") or not states:
                continue
            healthy = states.count("healthy")
            for balancer in balancers:
                space = "AWS/NetworkELB" if "/net/" in balancer else "AWS/ApplicationELB"
                dimensions = {"LoadBalancer": balancer.split(":loadbalancer/")[1], "TargetGroup": arn.rsplit(":", 1)[1]}
                put(space, "HealthyHostCount", dimensions, healthy)
                put(space, "UnHealthyHostCount", dimensions, len(states) - healthy)

    # What traffic asks.

    def open_to(self, group: Any) -> list[Target]:
        """Return the targets that get traffic: the healthy ones or, if none is, all of them (A12: fail open)."""
        targets = [one for one in self._targets.get(group.arn, {}).values() if one.state != "draining"]
        open_to = [one for one in targets if one.state == "healthy" and not self._stopped(one)] or targets
        now = self.account.clock.time()
        return open_to + [one for (arn, _), (one, end) in self._tails.items() if arn == group.arn and now < end]

    def answers(self, group: Any, target: Target) -> bool:
        """Say whether the application on an instance or IP target answers."""
        instance_id = target.id
        if group.target_type == "ip":
            owners = [one.id for one in self.account.ec2.backend.all_instances() if one.private_ip == target.id]
            instance_id = owners[0] if owners else ""
        return self.account.ec2.answers(instance_id)

    def alb_listener(self, target: Target) -> Any:
        """Return the listener that an ALB target answers on, None if it answers nothing."""
        if target.id in self.broken_albs or target.id not in self.backend.load_balancers:
            return None
        listeners = self.backend.load_balancers[target.id].listeners.values()
        return next((listener for listener in listeners if listener.port == target.port), None)


def _key(group: Any, target: dict[str, Any]) -> tuple[str, int | None]:
    port = target.get("Port", group.port)
    return target["Id"], None if port is None else int(port)


def _failure(group: Any, page: Page | None) -> tuple[str, str] | None:
    """Return the reason, and the status if that is it, why a health check failed; None if it passed."""
    if page is None:
        return "Target.FailedHealthChecks", ""
    if group.target_type == "alb" and not traffic.matches(page.status, group.matcher.get("HttpCode", "200-399")):
        return "Target.ResponseCodeMismatch", str(page.status)
    return None


def _check_priority(priority: int) -> None:
    if not 1 <= priority <= 50000:  # H1
        raise Refusal("ValidationError", f"Priority '{priority}' must be between 1 and 50000")
