"""Whether a task may believe the event that it got: the machine's documents, and no others."""

from kirikae import elb
from kirikae.errors import InputError, UnfinishedError
from kirikae.rotation import claims, executions
from kirikae.rotation.request import request
from kirikae.rotation.world import Config, Event


def verified(config: Config, event: Event) -> Event:
    """Return a task's event with what Step Functions says of its execution; raise if that does not bear it out.

    Only a running execution of this stack's machine is worked for, by its own input and its own document.
    """
    given = event.get("execution")
    execution_arn = str(given.get("Id") if isinstance(given, dict) else given)
    name = executions.name(execution_arn)
    if execution_arn != executions.arn(config, name):
        raise InputError(f"the execution is {execution_arn}, expected one of {config.state_machine_arn}")
    found = executions.described(execution_arn)
    if found is None or found.status != "RUNNING":  # or it does not show yet: the machine tries again
        raise UnfinishedError(f"the execution {execution_arn} does not run, so nothing is done for it")
    execution = {"Id": execution_arn, "Name": name, "StartTime": found.started.isoformat()}
    execution |= {"RedriveTime": found.redriven.isoformat()} if found.redriven else {}
    true = {**event, "execution": execution, "input": found.given}
    if event["operation"] != "plan" and not _handed_on(config, true):
        raise UnfinishedError(f"the document is not the one that {execution_arn} hands on, so nothing is done")
    return true


def _handed_on(config: Config, event: Event) -> bool:
    """Tell whether the document is what the machine hands on; without a history, whether it is what was asked for."""
    state = event.get("rotation")
    if (handed := executions.documents(event["execution"]["Id"])) is not None:
        return bool(state == next(handed, None))
    if not isinstance(state, dict) or "out" not in state:
        return bool(event["operation"] == "finish")  # nothing was planned; it only says so
    asked, by = request(config, event["input"], config.defaults), claims.mark(config, event["execution"]["Name"])
    signed = {target for target, claim in claims.each(elb.tags(asked.groups)) if claim.by == by}
    same = (state["groups"], state["hook"], state["batch_size"]) == ([*asked.groups], asked.hook, asked.batch_size)
    return same and {member["id"] for member in state["out"]} <= signed
