"""The tasks of the hook, while targets are out: a person is asked, or a command runs on their instances."""

import re

from kirikae import clock, notify
from kirikae.errors import InputError, ServingError, UnfinishedError
from kirikae.rotation import claims, commands, deleted, executions, known, mail, membership, redrive, steps
from kirikae.rotation.world import Config, Event, Rotation


def _see_out(config: Config, event: Event) -> None:
    """Raise ServingError unless what the document says is out is out: an execution may be redriven much later."""
    state: Rotation = event["rotation"]
    seen, by = membership.there(state["groups"]), claims.mark(config, event["execution"]["Name"])
    state = deleted.without(state, seen)
    others = known.others(config, state["out"], by, seen)
    if problem := redrive.serving(state["out"], others, seen):
        raise ServingError(problem)


def ask(config: Config, event: Event) -> None:
    """Mail a person both commands; the state machine waits for one of them."""
    _see_out(config, event)
    if not re.fullmatch(r"[A-Za-z0-9+/=_.-]+", event["token"]):
        raise InputError(f"the task token is {event['token']!r}, which is no word for a command")
    asking = mail.approval(config, event["rotation"], event["token"], clock.now())
    if problem := notify.publish(config.topic_arn, asking, config.notification_language):
        raise UnfinishedError(f"nobody was asked: {problem}")


def run(config: Config, event: Event) -> Rotation:
    """Send the hook's command to the instances that are out."""
    _see_out(config, event)
    state: Rotation = event["rotation"]
    hook, by_document = state["hook"], dict[str, list[str]]()
    platforms = commands.platforms(member["id"] for member in state["out"])
    if deaf := sorted({member["id"] for member in state["out"]} - platforms.keys()):
        raise UnfinishedError(f"Systems Manager does not reach {', '.join(deaf)}: is the agent online?")
    for instance, platform in platforms.items():
        by_document.setdefault(commands.document(hook, platform), []).append(instance)
    if problems := [problem for document in by_document if (problem := commands.document_problem(config, document))]:
        raise InputError("; ".join(problems))  # judged when it was planned; a document may have changed hands since
    comment, since = commands.comment(event["execution"]["Name"]), clock.moment(state["since"])
    sent = [commands.send(document, ids, hook, comment, since) for document, ids in sorted(by_document.items())]
    following = steps.wait({**state, "command_ids": sent}, "result", steps.POLL_SECONDS)
    if not executions.is_running(event["execution"]["Id"]):  # who put its targets back may have looked before these
        commands.withdraw(following, event["execution"]["Name"], {})  # the tick tells it
    return following


def result(config: Config, event: Event) -> Rotation:  # noqa: ARG001 (every operation takes both)
    """See how the command ended on every instance; cancel what the rotation no longer waits for."""
    state: Rotation = event["rotation"]
    found = {
        instance: outcome for command in state["command_ids"] for instance, outcome in commands.results(command).items()
    }
    following = steps.ran(state, found, clock.now())
    if following["next"] == "back" and any(status not in commands.ENDED for status, _ in found.values()):
        for command in state["command_ids"]:
            commands.cancel(command)
        following = steps.also(following, commands.withdrawn(state["command_ids"]))
    return following


def caught(state: Rotation, execution: str) -> Rotation:
    """Turn what a Catch of the state machine left into an ending; what the hook still runs is cancelled, and named."""
    ended = steps.failed(state)
    if "ending" in state or "ending" not in ended:
        return ended
    since = {member["id"]: clock.moment(member["out_at"]) for member in state["out"] if "out_at" in member}
    return steps.also(ended, commands.withdraw(state, execution, since))
