"""What people should know of an address pair, and the mail for whoever finds it otherwise than they know."""

from collections.abc import Iterator

from kirikae import notify
from kirikae.decision import Result
from kirikae.notify import Mail, Words
from kirikae.pair.move import Done
from kirikae.pair.plan import impaired, places, sides, up
from kirikae.pair.world import (
    CONDITIONS,
    IMPAIRED,
    NOWHERE,
    REFUSED,
    Config,
    Move,
    Observed,
    is_ipv6,
    to_tell,
    told_of,
)
from kirikae.told import State


def standing(config: Config, seen: Observed, result: Result[Move, Done] | None) -> State | None:
    """Return what is on which interface, interface -> names, and which holder is impaired.

    None while the parameters cannot be right or not everything is read.  After a move the old holder counts only for
    what it still has.
    """
    if not seen.instances or (seen.unread and not (result and not result.done.lasts)):
        return None
    here, refused = places(config, seen), list[str]()
    if result:
        here |= dict.fromkeys([*result.done.moved, *result.done.unseen], result.change.to)
        refused = [name for name in result.done.refused if is_ipv6(name) and here[name] in up(config, seen)]
    interfaces = dict(sides(config))
    weak = [instance for instance in impaired(config, seen) if interfaces[instance] in here.values()]
    said = {IMPAIRED: " ".join(weak), REFUSED: " ".join(sorted(refused))}
    if result and not result.done.lasts and not seen.statuses:  # what was read before the move is as people know it
        said[IMPAIRED] = result.done.known.get(IMPAIRED, "")
    return {key: names for key, names in said.items() if names} | to_tell(here)


def found(config: Config, seen: Observed, known: State) -> Mail | None:
    """Return the mail about addresses that are not where people were told they are, or about a holder's checks.

    None if they were told nothing of where the addresses are, and no holder is or was impaired.
    """
    now = places(config, seen)
    was = told_of(known, now)
    moved = {name: place for name, place in now.items() if was.get(name, place) != place}
    own = (*config.pair_interface_ids, NOWHERE, *CONDITIONS)
    if all(place in own for place in known):  # the first that somebody else takes is told of as not answered
        moved = {name: place for name, place in moved.items() if (place or NOWHERE) in own}
    lines = [Words(f"  {name}: {was[name] or NOWHERE} -> {place or NOWHERE}") for name, place in moved.items()]
    checks = [*_checks(config, seen, known)]
    if not moved:
        return _of_checks(config, seen, checks) if checks else None
    return notify.mail(
        config,
        "addresses are on another interface, found by the periodic check",
        happened=notify.lines([Words("Found:", "確認した状態:"), *lines, *checks]),
        why=Words(
            "Not made by this run: an earlier run ended before it could tell you, or somebody else moved them.",
            "この実行による変更ではありません。前回の実行が通知前に終了したか、別の操作で移動されました。",
        ),
        check=Words(
            "The service itself, from a client, and CloudTrail for the interfaces.",
            "クライアントからサービスを確認し、CloudTrail でこれらのインターフェイスへの操作を確認してください。",
        ),
    )


def _checks(config: Config, seen: Observed, known: State) -> Iterator[Words]:
    """Yield what is new about the status checks of those that hold the addresses."""
    weak, before = impaired(config, seen), known.get(IMPAIRED, "").split()
    for instance in weak:
        if instance not in before:
            failing = seen.statuses[instance].failing
            yield Words(
                f"{instance} is running and holds addresses, but fails its status checks: {failing}.",
                f"{instance} は稼働中 (running) でアドレスを保持していますが、"
                f"ステータスチェックに失敗しています: {failing}。",
            )
            yield why_it_stays(config, seen, instance)
    for instance in before:
        if instance in seen.statuses and not seen.statuses[instance].failing:
            yield Words(
                f"The status checks of {instance} do not fail any more.",
                f"{instance} のステータスチェックの失敗は解消しました。",
            )


def why_it_stays(config: Config, seen: Observed, instance: str) -> Words:
    """Return why the addresses stay on an instance that fails its status checks."""
    if not config.pair_move_when_impaired:
        return Words(
            "The addresses stay there, because PairMoveWhenImpaired is false.",
            "PairMoveWhenImpaired が false のため、アドレスは移動しません。",
        )
    alarm = seen.alarms.get(instance, "")
    if not alarm.startswith("ALARM") and not seen.statuses[instance].counted:
        return Words(
            "The addresses stay there: its alarm counts only system, instance, attached EBS and application checks "
            "that are impaired.",
            "アドレスは移動しません。アラームの対象は、impaired になったシステム・インスタンス・アタッチ済み EBS・"
            "アプリケーションの各チェックのみです。",
        )
    if ", but " in alarm:
        return Words(
            f"The addresses stay there while its alarm is silent: {alarm}.",
            f"アラームが抑止されている間、アドレスは移動しません: {alarm}。",
        )
    if alarm != "ALARM":
        return Words(
            "The addresses move when its alarm goes off, which takes some minutes, if the other instance is fit then.",
            "アラームが発生した時点 (数分後) で、もう一方のインスタンスが正常であれば、アドレスを移動します。",
        )
    [other] = [name for name in config.pair_instance_ids if name != instance]
    state = f"{seen.instances[other]}, its alarm is {seen.alarms.get(other, 'not known')}"
    if other in seen.statuses:
        state += f", its status checks are {seen.statuses[other].text}"
    return Words(
        f"The addresses stay there, because {other} is not fit to take them: {state}.",
        f"{other} が引き継げる状態ではないため、アドレスは移動しません: {state}。",
    )


def _of_checks(config: Config, seen: Observed, said: list[Words]) -> Mail:
    """Return the mail about status checks of holders that have begun or ceased to fail."""
    weak = impaired(config, seen)
    subject = f"{', '.join(weak)} holds the addresses and fails its status checks"
    fit = [status.instance_id for status in seen.statuses.values() if status.ready and status.instance_id not in weak]
    stops = [notify.aws_command(config, "ec2 stop-instances", f"--force --instance-ids {each}") for each in weak]
    by_hand = Words(
        "The service itself, from a client. To let kirikae move the addresses now, unless it is held, stop it:",
        "クライアントからサービスを確認してください。今すぐアドレスを移動させるには、保留中でなければインスタンスを停止します:",
    )
    if not fit:  # then nobody would take them
        by_hand, stops = Words("The service itself, from a client.", "クライアントからサービスを確認してください。"), []
    return notify.mail(
        config,
        subject if weak else "the holder of the addresses does not fail its status checks any more",
        happened=notify.lines(said),
        check=notify.with_commands(by_hand, stops) if weak else None,
    )
