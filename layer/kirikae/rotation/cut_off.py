"""Ends of executions of which no task of theirs could tell."""

from typing import cast

from kirikae import ec2
from kirikae.notify import Words
from kirikae.rotation import deleted, executions, guard, mail, membership, returns, steps, telling
from kirikae.rotation.executions import Execution
from kirikae.rotation.world import Config, Ending, Member, Rotation


def tell(config: Config, name: str) -> None:
    """Mail how an execution ended that Step Functions has ended, like one whose history was full, before `finish`."""
    arn = executions.arn(config, name)
    found = executions.described(arn)
    if found is None or found.stopped is None or not found.problem:
        return
    about = f"{name}, {(found.redriven or found.started).isoformat()}"
    if telling.knows(config, about):
        return
    empty: Rotation = {"groups": [], "queue": [], "out": [], "done": [], "skipped": []}
    documents = executions.documents(arn) or ()
    state: Rotation = next((cast("Rotation", each) for each in documents if "out" in each and "queue" in each), empty)
    seen = membership.there(state["groups"])
    state = deleted.without(state, seen)
    states = ec2.instance_states(member["id"] for member in state["out"] if member["id"].startswith("i-"))
    out: list[Member] = [
        {**member, "gone": True}
        if states.get(member["id"]) in ec2.GONE
        else {**member, "scaling_group": ""}  # brought out of Standby since
        for member in state["out"]
    ]
    rows = [
        returns.row(member, "put back", "not registered" if guard.absent(member, seen) else "", found.stopped)
        for member in out
    ]
    ending: Ending = "Stopped" if found.status == executions.ABORTED else "Failed"
    ended: Rotation = {**state, "out": [], "done": [*state["done"], *rows]}
    made = steps.finished(steps.ended(ended, ending, _reason(found)))
    made = returns.named(made, state["out"], seen)
    telling.once(config, "ended", about, mail.ended(config, made, name, found.stopped))


def _reason(found: Execution) -> Words:
    """Return why it ended before a task could say so."""
    if found.status != executions.ABORTED:
        said = f"Step Functions ended it: {found.problem}"
        return Words(said, f"Step Functions が実行を終了しました: {found.problem}")
    why = "" if found.problem == executions.ABORTED else f": {found.problem}"
    return Words(f"the execution was stopped (StopExecution){why}", f"実行が停止されました (StopExecution){why}")
