"""The mail of an address pair."""

from collections.abc import Iterator, Mapping

from kirikae import ec2, hold, notify
from kirikae.decision import Result
from kirikae.notify import Mail, Words
from kirikae.pair.move import Done
from kirikae.pair.plan import plan
from kirikae.pair.world import Config, Move, Observed, is_ipv4, is_ipv6, is_route


def why(seen: Observed, change: Move) -> Words:
    """Return what has to move, from which interface, and the state of its instance."""
    en, ja = list[str](), list[str]()
    for place in dict.fromkeys(change.sources.values()):
        names, holder = _on(place, change.sources), seen.interfaces.get(place)
        few = ", ".join(names) if len(names) < 4 else ""
        known = f" ({_state(seen, holder.instance_id)})" if holder and holder.instance_id in seen.instances else ""
        en.append(f"{few or f'{len(names)} addresses and routes'} on {holder or place or 'no interface'}{known}")
        ja.append(f"{few or f'{len(names)} 件のアドレスとルート'} の現在の場所: {_place_ja(seen, place)}{known}")
    instance = seen.interfaces[change.to].instance_id
    fit, fit_ja = "", "です"
    if instance in seen.statuses:
        fit, fit_ja = " and passes all of its status checks", "で、すべてのステータスチェックに合格しています"
    return Words(
        f"{'; '.join(en)}; {instance} is running{fit}", f"{'、'.join(ja)}。{instance} は稼働中 (running) {fit_ja}。"
    )


def _but(seen: Observed, instance: str) -> str:
    return " but impaired" if instance in seen.statuses and seen.statuses[instance].failing else ""


def _state(seen: Observed, instance: str) -> str:
    """Return the state of an instance, and which of its status checks fail."""
    failing = seen.statuses[instance].failing if instance in seen.statuses else ""
    return f"{seen.instances[instance]}, but {failing}" if failing else seen.instances[instance]


def _on(place: str, places: Mapping[str, str]) -> list[str]:
    return [name for name in places if places[name] == place]


def _place_ja(seen: Observed, place: str) -> str:
    """Name an interface and its instance in Japanese."""
    holder = seen.interfaces.get(place)
    return f"{place} ({holder.instance_id or '未アタッチ'})" if holder else place or "インターフェイスなし"


def moved(config: Config, seen: Observed, result: Result[Move, Done]) -> Mail:
    """Return the mail of a move: what stopped, what moved from where to where and was seen there, how to undo it."""
    done, target = result.done, seen.interfaces[result.change.to].instance_id
    others = {instance: state for instance, state in seen.instances.items() if instance != target}
    down = ", ".join(f"{instance} is {_state(seen, instance)}" for instance in others)
    short = ", ".join(f"{instance} is {state}{_but(seen, instance)}" for instance, state in others.items())
    down_ja = "\n".join(_down_ja(seen, instance) for instance in others)
    whole = not (done.unseen or done.refused)
    finished = f"addresses moved to {target}" if whole else f"ATTENTION, not all addresses are on {target}"
    return notify.mail(
        config,
        f"{finished}, {short}",
        happened=notify.lines(_happened(config, seen, result, Words(f"{down}.", down_ja))),
        why=result.reason,
        since=notify.since(result.times),
        check=_check(target, [*done.moved, *done.earlier, *done.unseen]),
        undo=_undo(config, seen, result),
    )


def _down_ja(seen: Observed, instance: str) -> str:
    state = seen.instances[instance]
    if state in ec2.DOWN or state == ec2.MISSING:
        return f"{instance} の停止を検知しました (状態: {state})。"
    if instance in seen.statuses and (failing := seen.statuses[instance].failing):
        return f"{instance} は {state} ですが、ステータスチェックに失敗しています ({failing})。"
    return f"{instance} は {state} です。"


def _happened(config: Config, seen: Observed, result: Result[Move, Done], down: Words) -> Iterator[Words]:
    """Yield what stopped, what moved, what was not seen to move, and what was left."""
    yield down
    to, done = result.change.to, result.done
    if done.moved:
        yield Words(
            f"Moved to {seen.interfaces[to]}, and seen there afterwards:",
            f"次を {_place_ja(seen, to)} へ移動し、移動後の状態を確認しました:",
        )
    yield from (_item(seen, name, place) for name, place in done.moved.items())
    if done.earlier:
        yield Words(
            "There already, by an earlier run that could not tell it, or by somebody else:",
            "次は既に移動済みでした (通知前に終了した前回の実行、または別の操作による移動):",
        )
    yield from (_item(seen, name, place) for name, place in done.earlier.items())
    if done.unseen:
        yield Words(
            "ATTENTION, not seen there; the next run looks again and finishes it:",
            "注意: 次は移動を確認できていません (次回の実行で再試行します):",
        )
    yield from (Words(f"  {name}: {problem}") for name, problem in done.unseen.items())
    if done.refused:
        yield Words(
            "ATTENTION, EC2 did not move these; unless the line says when, every run tries again:",
            "注意: 次は EC2 に拒否されたため移動していません (時刻の記載がないものは実行のたびに再試行します):",
        )
    yield from (Words(f"  {name}: {problem}") for name, problem in done.refused.items())
    if left := [*plan(config, seen).left.values(), *seen.unread.values()]:
        yield Words("Not moved:", "移動していないもの:")
        yield from (Words(f"  {reason}") for reason in left)


def _item(seen: Observed, name: str, place: str) -> Words:
    """Return a line about something that has moved, and where it was."""
    item = f"  {name} ({seen.elastic[name].public_ip})" if name in seen.elastic else f"  {name}"
    was = f"was on {seen.interfaces.get(place, place)}" if place else "was nowhere"
    return Words(f"{item}, {was}", f"{item}、移動元: {_place_ja(seen, place)}")


def _check(target: str, names: list[str]) -> Words:
    en, ja = "The service itself, from a client.", "クライアントからサービスを確認してください。"
    networks = sorted({name.split()[1] for name in names if is_route(name)})
    if configured := ", ".join([name for name in names if is_ipv4(name) or is_ipv6(name)] + networks):
        system = f"EC2 delivers to {target} now, but its operating system must have {configured} configured"
        en = f"{system}: `ip address`.\n{en}"
        ja = f"通信は {target} に届きますが、OS 側にも {configured} の設定が必要です (`ip address` で確認)。\n{ja}"
    return Words(
        f"{en} The addresses stay on {target} when the other instance is back.",
        f"{ja}もう一方が復帰しても、アドレスは {target} に残ります。",
    )


def _undo(config: Config, seen: Observed, result: Result[Move, Done]) -> Words:
    moved = {**result.done.earlier, **result.done.moved}
    if not moved:
        return Words(
            "Nothing was seen to move yet, so there is nothing to undo.",
            "移動をまだ確認できていないため、元に戻す操作はありません。",
        )
    back = [notify.aws_command(config, *command) for command in _back(seen, moved, result.change.to)]
    if not any(moved.values()):
        return Words(
            "There is nowhere to go back to: it was on no interface.",
            "移動前はどのインターフェイスにも割り当てられていなかったため、元に戻す先はありません。",
        )
    if not back:
        return Words(
            "There is nowhere to go back to: the instance it was on is gone.",
            "移動元のインスタンスは存在しないため、元に戻す先はありません。",
        )
    said = Words(
        "Start or mend the other instance, hold kirikae off, or it will move them again; then move them back:",
        "もう一方のインスタンスを起動または修復し、kirikae を保留にしてから元に戻します (しないと再び移動します):",
    )
    return notify.with_commands(said, [hold.command(config, result.times.done), *back])


def _back(seen: Observed, moved: Mapping[str, str], now_on: str) -> Iterator[tuple[str, str]]:
    """Yield operation and arguments of the commands that bring back what was on an instance that can come back."""
    for place in dict.fromkeys(moved.values()):
        holder, names = seen.interfaces.get(place), _on(place, moved)
        if holder is None or seen.instances.get(holder.instance_id, "") in ec2.GONE:
            continue
        to = f"--network-interface-id {place}"
        if ipv4 := list(filter(is_ipv4, names)):
            given = f"--private-ip-addresses {' '.join(ipv4)}"
            yield "ec2 assign-private-ip-addresses", f"--allow-reassignment {to} {given}"
        if ipv6 := " ".join(filter(is_ipv6, names)):
            yield "ec2 unassign-ipv6-addresses", f"--network-interface-id {now_on} --ipv6-addresses {ipv6}"
            yield "ec2 assign-ipv6-addresses", f"{to} --ipv6-addresses {ipv6}"
        for allocation in filter(seen.elastic.__contains__, names):
            private_ip = seen.elastic[allocation].private_ip
            if private_ip not in (*holder.addresses, *ipv4):  # a run before this one had moved it
                private_ip = next(iter(holder.primary), private_ip)
            if private_ip not in ipv4:  # it goes with its address
                given = f"--allocation-id {allocation} {to} --private-ip-address {private_ip}"
                yield "ec2 associate-address", f"--allow-reassociation {given}"
        for name in filter(is_route, names):
            table, cidr = name.split()
            option = "--destination-ipv6-cidr-block" if ":" in cidr else "--destination-cidr-block"
            yield "ec2 replace-route", f"--route-table-id {table} {option} {cidr} {to}"
