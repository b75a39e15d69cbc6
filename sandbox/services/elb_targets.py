"""The targets of load balancers: their health and its life cycle, and what they answer."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox import drawn
from sandbox.clock import Timer
from sandbox.frontdoor import ADMINISTRATOR, FrontDoor
from sandbox.services import elb_lambda
from sandbox.services.awslambda import Functions
from sandbox.services.cloudwatch_metrics import Put
from sandbox.services.delivery import DeliveryError
from sandbox.services.ec2 import Ec2
from sandbox.services.elb import Elb
from sandbox.services.elb_routing import Page, Visit, chosen, matches, own_page, rule_for, with_attributes
from sandbox.wire import Answer, Refusal

_LATE_SECONDS = (0.0, 5.0)  # Q8: the bounds of late_seconds
_OTHER_ZONE = "Target is in an Availability Zone that is not enabled for the load balancer"
_SHIFTED = {  # R12
    "State": "zonal_shift_active",
    "Reason": "AdministrativeOverride.ZonalShiftActive",
    "Description": "Zonal shift is currently active on target",
}
_SERVICE = "elasticloadbalancing.amazonaws.com"
_REASONS = {
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

# A page that a function makes is made later, when nobody holds the account's lock. None: nobody answers.
type _Found = Page | Callable[[], Page] | None
type _Key = tuple[str, int | None]  # id and port of a target; a function has no port


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


class Targets:
    """The targets of one account's target groups.

    Health checks run at the group's interval on the virtual clock and find what the application, the ALB's rules or
    the function would answer. States and reasons are those of DescribeTargetHealth.
    """

    def __init__(self, account: FrontDoor, elb: Elb, ec2: Ec2, functions: Functions) -> None:
        self._account = account
        self._elb = elb
        self._ec2 = ec2
        self._functions = functions
        # What a test may set.
        self.broken_albs: set[str] = set()  # ARNs of ALBs that answer nothing
        self.broken_ports: set[tuple[str, int]] = set()  # instance id and port of applications that hang
        self.shifted_zones: set[str] = set()  # zones that a zonal shift keeps traffic away from
        self.nlb_tail_seconds = 0.0  # how long a Network Load Balancer still sends connections to who has left (B4)
        # Q8: so long functions read what was before targets came or went; None: as drawn. An administrator sees.
        self.late_seconds: float | None = None
        self.refuses_draining = ""  # R10: AWS's code for an address that comes back while it drains; "": it is taken
        self._random = drawn("late targets")
        self._before: dict[str, list[tuple[float, dict[_Key, dict[str, Any]]]]] = {}  # what late reads show, until when
        self._targets: dict[str, dict[_Key, Target]] = {}
        self._tails: dict[tuple[str, _Key], tuple[Target, float]] = {}
        ec2.on_change.append(self._instance_changed)
        for operation, fn in {
            "DeleteLoadBalancer": self._check_load_balancer_is_free,
            "RegisterTargets": self._register,
            "DeregisterTargets": self._deregister,
            "DescribeTargetHealth": self._describe_health,
        }.items():
            account.override("elbv2", operation, fn)
        for operation in (
            "CreateListener",
            "ModifyListener",
            "DeleteListener",
            "SetSubnets",
            "CreateRule",
            "ModifyRule",
            "DeleteRule",
            "DeleteLoadBalancer",
        ):
            account.around("elbv2", operation, self._and_reconsider)
        account.after("elbv2", "DeleteTargetGroup", self._delete_target_group)

    def _check_load_balancer_is_free(self, params: dict[str, Any], _principal: str) -> None:
        # C5: an ALB that is registered as a target cannot be deleted.
        arn = params["LoadBalancerArn"]
        held = [target for targets in self._targets.values() for target in targets.values()]
        if any(target.id == arn and target.state != "draining" for target in held):
            raise Refusal("ResourceInUse", f"Load balancer '{arn}' is registered as a target")

    def _delete_target_group(self, params: dict[str, Any]) -> None:
        for target in self._targets.pop(params["TargetGroupArn"], {}).values():
            if target.timer:
                target.timer.cancel()

    def _and_reconsider(self, _params: dict[str, Any], serve: Callable[[], Answer]) -> Answer:
        answered = serve()
        self._reconsider()
        return answered

    # Registration.

    def _register(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        group = self._elb.group(params["TargetGroupArn"])
        held = self._targets.setdefault(group.arn, {})
        wanted = [_key(group, given) for given in params["Targets"]]
        for target_id, port in wanted:
            self._check_target(group, target_id, port, {*held, *wanted})
        zones = {_key(group, given): given.get("AvailabilityZone") for given in params["Targets"]}
        if group.target_type in ("instance", "alb") and any(zones.values()):
            kind = group.target_type
            raise Refusal("ValidationError", f"You cannot specify an Availability Zone for target type '{kind}'")
        if self.refuses_draining and group.target_type == "ip":  # R10
            for key in wanted:
                if key in held and held[key].state == "draining":
                    message = f"The following targets are draining and cannot be registered: '{key[0]}'"
                    raise Refusal(self.refuses_draining, message)
        self._remember(group)
        for key in wanted:
            if key not in held or held[key].state == "draining":
                self._forget(group, key)
                held[key] = Target(*key, zone=zones[key])
        self._reconsider()
        return {}

    def _check_target(self, group: Any, target_id: str, port: int | None, all_keys: set[Any]) -> None:
        if group.target_type == "instance":
            instance = self._ec2.instance(target_id)
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
            balancer = self._elb.backend.load_balancers.get(target_id)
            if balancer is None or balancer.type != "application" or balancer.vpc_id != group.vpc_id:
                raise Refusal("InvalidTarget", f"'{target_id}' is not an Application Load Balancer of this VPC")
            if port != group.port or all(listener.port != port for listener in balancer.listeners.values()):
                raise Refusal(
                    "InvalidTarget", f"The Application Load Balancer '{target_id}' has no listener on port {port}"
                )
            if len(all_keys) > 1:
                raise Refusal("TooManyTargets", "A target group with target type 'alb' can have one target")

    def _check_function(self, group: Any, function_arn: str) -> None:
        try:
            self._functions.check(function_arn, principal=_SERVICE, source_arn=group.arn)
        except DeliveryError as error:  # H7
            raise Refusal(
                "AccessDenied",
                f"elasticloadbalancing principal does not have permission to invoke {function_arn} "
                f"from target group {group.arn}",
            ) from error

    def _deregister(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        group = self._elb.group(params["TargetGroupArn"])
        self._remember(group)
        for given in params["Targets"]:
            # G11: an absent target is accepted; a port override must be named.
            self._drain(group, _key(group, given))
        self._reconsider()
        return {}

    def _drain(self, group: Any, key: _Key) -> None:
        """Take a target out: draining for the deregistration delay where it may have had traffic (D4)."""
        target = self._targets.get(group.arn, {}).get(key)
        if target is None or target.state == "draining":
            return
        state, reason, _ = self._health(group, target)
        self._forget(group, key)
        if state == "unused" and reason == "Target.NotInUse":
            return
        target.state, target.reason = "draining", "Target.DeregistrationInProgress"
        self._targets[group.arn][key] = target
        delay = float(group.attributes["deregistration_delay.timeout_seconds"])
        target.timer = self._account.clock.after(delay, lambda: self._forget(group, key))
        if any("/net/" in arn for arn in self._elb.used().get(group.arn, ())):
            self._tails[group.arn, key] = (target, self._account.clock.time() + self.nlb_tail_seconds)

    def leave(self, group_arn: str, target_id: str) -> None:
        """Take a target out, as EC2 Auto Scaling does with an instance that enters Standby."""
        group = self._elb.group(group_arn)
        self._remember(group)
        for key in [key for key in self._targets.get(group_arn, {}) if key[0] == target_id]:
            self._drain(group, key)
        self._reconsider()

    def join(self, group_arn: str, target_id: str) -> None:
        """Register a target on the group's port, as EC2 Auto Scaling does."""
        self._register({"TargetGroupArn": group_arn, "Targets": [{"Id": target_id}]}, "")

    def _forget(self, group: Any, key: _Key) -> None:
        target = self._targets.get(group.arn, {}).pop(key, None)
        if target and target.timer:
            target.timer.cancel()

    def _instance_changed(self, instance_id: str, state: str) -> None:
        """Drain the targets of a terminated instance; start or stop health checks."""
        if state == "terminated":
            for arn, targets in self._targets.items():
                for key in [key for key in targets if key[0] == instance_id]:
                    self._drain(self._elb.group(arn), key)
        self._reconsider()

    # Target health.

    def _reconsider(self) -> None:
        """Start and stop health checks after anything that may have changed who is checked."""
        used = self._elb.used()
        for group in self._elb.backend.target_groups.values():
            group.load_balancer_arns = sorted(used.get(group.arn, ()))
            for target in self._targets.get(group.arn, {}).values():
                if target.state == "draining":
                    continue
                checked = self._in_use(group, target) and group.health_check_enabled and not self._stopped(target)
                if checked and target.timer is None:
                    self._schedule(group, target)
                elif not checked and target.timer:
                    target.timer.cancel()
                    target.timer, target.streak = None, 0
                    target.state, target.reason = "initial", "Elb.RegistrationInProgress"

    def _schedule(self, group: Any, target: Target) -> None:
        interval = float(group.health_check_interval_seconds)
        target.timer = self._account.clock.after(interval, lambda: self._check(group, target))

    def _check(self, group: Any, target: Target) -> None:
        """Do one health check and take the state on from it."""
        with self._account.lock:
            page = self._probe(group, target)
        if callable(page):
            page = page()
        with self._account.lock:
            if self._targets.get(group.arn, {}).get((target.id, target.port)) is target:
                self._schedule(group, target)
                self._judge(group, target, _failure(group, page))

    def _probe(self, group: Any, target: Target) -> _Found:
        """Return the page with which a target answers its health check, None if it does not."""
        if group.target_type != "alb":
            return Page(200, b"") if self._answers(group, target) else None
        # C2: sent to the ALB and answered by its rules.
        listener = self._alb_listener(target)
        if listener is None or group.health_check_protocol != listener.protocol:
            return None
        return self._from_alb(listener, Visit(group.health_check_path or "/", agent="ELB-HealthChecker/2.0"))

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
        instance = self._ec2.instance(target.id) if target.id.startswith("i-") else None
        return instance is not None and instance.state == "stopped"

    def _zone(self, group: Any, target: Target) -> str:
        """Return the zone that a target is in, or `all` if it is in none or in every one (R3)."""
        if target.zone:
            return target.zone
        instance = self._ec2.instance(target.id) if group.target_type == "instance" else None
        if instance is not None:
            return str(instance.placement.zone)
        if group.target_type == "ip":
            address = ipaddress.ip_address(target.id)
            for subnet in self._ec2.backend.describe_subnets(filters={"vpc-id": [group.vpc_id]}):
                ipv6 = [known["ipv6CidrBlock"] for known in subnet.ipv6_cidr_block_associations.values()]
                if any(address in ipaddress.ip_network(cidr) for cidr in [subnet.cidr_block, *ipv6]):
                    return str(subnet.availability_zone)
        return "all"

    def _in_use(self, group: Any, target: Target) -> bool:
        """Tell whether a load balancer uses the group, and the target's zone is enabled for it (R1)."""
        return bool((zones := self._elb.zones(group.arn)) and self._zone(group, target) in zones | {"all"})

    def _health(self, group: Any, target: Target | None) -> tuple[str, str, str]:
        """Return state, reason and description of a target, as DescribeTargetHealth shows them (B1, B3)."""
        if target is None:
            state, reason, text = "unused", "Target.NotRegistered", ""
        elif target.state == "draining":
            state, reason, text = target.state, target.reason, ""
        elif not self._in_use(group, target):
            # R1: one reason with two meanings, which only the description tells apart.
            state, reason, text = "unused", "Target.NotInUse", _OTHER_ZONE if self._elb.zones(group.arn) else ""
        elif self._stopped(target):
            state, reason, text = "unused", "Target.InvalidState", ""
        elif not group.health_check_enabled:
            state, reason, text = "unavailable", "Target.HealthCheckDisabled", ""
        else:
            state, reason, text = target.state, target.reason, ""
        codes = target.codes if target else ""
        return state, reason, text or _REASONS.get(reason, "").format(codes)

    def health(self, group_arn: str) -> dict[str, str]:
        """Return target id -> state, such as healthy or draining, for all targets of a group."""
        group = self._elb.group(group_arn)
        return {target.id: self._health(group, target)[0] for target in self._targets.get(group_arn, {}).values()}

    def _describe_health(self, params: dict[str, Any], principal: str) -> dict[str, Any]:
        group = self._elb.group(params["TargetGroupArn"])
        shown = self._shown(group) if principal == ADMINISTRATOR else self._late(group)
        keys = [_key(group, given) for given in params["Targets"]] if params.get("Targets") else list(shown)
        return {"TargetHealthDescriptions": [shown.get(key) or self._description(group, key, None) for key in keys]}

    def _shown(self, group: Any) -> dict[_Key, dict[str, Any]]:
        """Return the description of every target of a group as it is now."""
        held = self._targets.get(group.arn, {})
        return {key: self._description(group, key, target) for key, target in held.items()}

    def _remember(self, group: Any) -> None:
        """Keep what late reads show of a group that is about to change."""
        seconds = self._random.uniform(*_LATE_SECONDS) if self.late_seconds is None else self.late_seconds
        remembered = self._before.setdefault(group.arn, [])
        until = max([self._account.lag.now + seconds, *(until for until, _ in remembered)])  # changes keep their order
        remembered.append((until, self._shown(group)))

    def _late(self, group: Any) -> dict[_Key, dict[str, Any]]:
        """Return what a read shows that lags behind the last changes (Q8)."""
        now = self._account.lag.now
        late = [(until, shown) for until, shown in self._before.get(group.arn, []) if now < until]
        self._before[group.arn] = late
        return late[0][1] if late else self._shown(group)

    def _description(self, group: Any, key: _Key, found: Target | None) -> dict[str, Any]:
        state, reason, description = self._health(group, found)
        target: dict[str, Any] = {"Id": key[0]} | ({"Port": key[1]} if key[1] is not None else {})
        if found and found.zone:
            target["AvailabilityZone"] = found.zone
        health = {"State": state} | ({"Reason": reason, "Description": description} if reason else {})
        shifted = found is not None and self._zone(group, found) in self.shifted_zones
        override = {"AdministrativeOverride": _SHIFTED} if shifted else {}
        check_port = group.health_check_port
        check_port = str(key[1]) if check_port in (None, "traffic-port") else str(check_port)
        return {"Target": target, "HealthCheckPort": check_port, "TargetHealth": health} | override

    def publish(self, put: Put) -> None:
        """Publish the host counts of the minute (F1), never for ALB-type groups (C5)."""
        for arn, balancers in self._elb.used().items():
            group = self._elb.group(arn)
            held = self._targets.get(arn, {}).values()  # an id on two ports is two targets
            states = [state for target in held if (state := self._health(group, target)[0]) != "draining"]
            if group.target_type in ("alb", "lambda") or not states:
                continue
            healthy = states.count("healthy")
            for balancer in balancers:
                space = "AWS/NetworkELB" if "/net/" in balancer else "AWS/ApplicationELB"
                dimensions = {"LoadBalancer": balancer.split(":loadbalancer/")[1], "TargetGroup": arn.rsplit(":", 1)[1]}
                put(space, "HealthyHostCount", dimensions, healthy)
                put(space, "UnHealthyHostCount", dimensions, len(states) - healthy)

    # Traffic.

    def _open_to(self, group: Any) -> list[Target]:
        """Return the targets that get traffic: the healthy ones or, if none is, all of them (A12: fail open)."""
        held = self._targets.get(group.arn, {}).values()
        targets = [
            target
            for target in held
            if target.state != "draining"
            and self._in_use(group, target)
            and self._zone(group, target) not in self.shifted_zones
        ]
        open_to = [target for target in targets if target.state == "healthy" and not self._stopped(target)] or targets
        now = self._account.clock.time()
        return open_to + [target for (arn, _), (target, end) in self._tails.items() if arn == group.arn and now < end]

    def _answers(self, group: Any, target: Target) -> bool:
        """Return whether the application on an instance or IP target answers."""
        instance_id = target.id
        if group.target_type == "ip":
            owners = [instance.id for instance in self._ec2.backend.all_instances() if instance.private_ip == target.id]
            instance_id = owners[0] if owners else ""
        return (instance_id, target.port) not in self.broken_ports and self._ec2.answers(instance_id)

    def _alb_listener(self, target: Target) -> Any:
        """Return the listener that an ALB target answers on, None if it answers nothing."""
        if target.id in self.broken_albs or target.id not in self._elb.backend.load_balancers:
            return None
        listeners = self._elb.backend.load_balancers[target.id].listeners.values()
        return next((listener for listener in listeners if listener.port == target.port), None)

    def nlb_page(self, listener_arn: str, visit: Visit) -> Page | None:
        """Return what a Network Load Balancer's listener gives this visit, None if nobody answers."""
        with self._account.lock:
            group = chosen(self._elb.listener(listener_arn).default_actions[0].data, visit.turn)
            found = self._from_group(self._elb.group(group), visit) if group else None
        return found() if callable(found) else found

    def alb_page(self, listener_arn: str, visit: Visit) -> Page:
        """Return what an Application Load Balancer's listener gives this visit, 502 if nobody answers."""
        with self._account.lock:
            listener = self._elb.listener(listener_arn)
            found = self._from_alb(listener, visit)
        page = (found() if callable(found) else found) or Page(502, b"Bad Gateway")
        return with_attributes(page, listener.attributes)

    def _from_group(self, group: Any, visit: Visit) -> _Found:
        targets = self._open_to(group)
        if not targets:
            return None
        target = targets[visit.turn % len(targets)]
        if group.target_type == "alb":
            listener = self._alb_listener(target)
            return self._from_alb(listener, visit) if listener else None
        if not self._answers(group, target):
            return None
        text = f"<!doctype html><title>The service</title><h1>The service</h1><p>Served by {target.id}.</p>\n"
        return Page(200, text.encode(), "text/html; charset=utf-8")

    def _from_alb(self, listener: Any, visit: Visit) -> _Found:
        action = rule_for(self._elb.in_force(listener), visit).actions[-1].data
        if page := own_page(action, visit):
            return page
        group_arn = chosen(action, visit.turn)
        group = self._elb.group(group_arn) if group_arn else None
        if group is None or not self._open_to(group):
            return Page(503, b"Service Temporarily Unavailable")
        if group.target_type == "lambda":
            function = self._open_to(group)[0].id
            return lambda: self._from_function(function, group, visit)
        return self._from_group(group, visit) or Page(502, b"Bad Gateway")

    def _from_function(self, function_arn: str, group: Any, visit: Visit) -> Page:
        """Invoke a Lambda target as an ALB does and read its answer (H7)."""
        if refused := elb_lambda.refusal(visit):  # O1
            return refused
        several = group.attributes.get("lambda.multi_value_headers.enabled") == "true"
        try:
            self._functions.check(function_arn, principal=_SERVICE, source_arn=group.arn)
        except DeliveryError:
            return elb_lambda.BAD_GATEWAY
        invoked = self._functions.invoke(function_arn, elb_lambda.event(visit, group.arn, several=several))
        return elb_lambda.BAD_GATEWAY if invoked.error else elb_lambda.answer(invoked.payload, several=several)


def _key(group: Any, target: dict[str, Any]) -> _Key:
    port = target.get("Port", group.port)
    return target["Id"], None if port is None else int(port)


def _failure(group: Any, page: Page | None) -> tuple[str, str] | None:
    """Return the reason, and the status if that is it, why a health check failed; None if it passed."""
    if page is None:
        return "Target.FailedHealthChecks", ""
    if group.target_type == "alb" and not matches(page.status, group.matcher.get("HttpCode", "200-399")):
        return "Target.ResponseCodeMismatch", str(page.status)
    return None
