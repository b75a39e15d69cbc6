"""The mail of an address pair."""

from collections.abc import Iterable, Iterator, Mapping

from kirikae import ec2, hold, notify, reconcile
from kirikae.notify import Mail, Words
from kirikae.pair import plan as pair
from kirikae.pair.move import Done
from kirikae.pair.plan import Config, Observed, Plan
from kirikae.reconcile import Decision, Times


def why(seen: Observed, plan: Plan) -> Words:
    """Say what has to move: where it is, and what is the matter with that."""
    en, ja = list[str](), list[str]()
    for place in dict.fromkeys(plan.moves.values()):
        names = [name for name in plan.moves if plan.moves[name] == place]
        few, holder, state = ", ".join(names) if len(names) < 4 else "", seen.interfaces.get(place), _state(seen, place)
        known = f" ({state})" if state else ""
        en.append(f"{few or f'{len(names)} addresses and routes'} on {holder or place or 'no interface'}{known}")
        ja.append(f"{few or f'{len(names)} 件のアドレスとルート'} の現在の場所: {_place_ja(seen, place)}{known}")
    instance = seen.interfaces[plan.to].instance_id
    return Words(f"{'; '.join(en)}; {instance} is running", f"{'、'.join(ja)}。{instance} は稼働中 (running) です。")


def _state(seen: Observed, interface_id: str) -> str:
    holder = seen.interfaces.get(interface_id)
    return seen.instances.get(holder.instance_id, "") if holder else ""


def _place_ja(seen: Observed, place: str) -> str:
    """Name an interface and its instance in Japanese."""
    holder = seen.interfaces.get(place)
    return f"{place} ({holder.instance_id or '未アタッチ'})" if holder else place or "インターフェイスなし"


def _stopped_ja(instance: str, state: str) -> str:
    down = state in ec2.DOWN or state == ec2.MISSING
    return f"{instance} の停止を検知しました (状態: {state})。" if down else f"{instance} は {state} です。"


def moved(config: Config, seen: Observed, decision: Decision, done: Done, times: Times) -> Mail:
    """Say what stopped, what moved from where to where, what was seen, and how to undo it."""
    target = seen.interfaces[done.to].instance_id
    down = ", ".join(f"{instance} is {state}" for instance, state in seen.instances.items() if instance != target)
    finished = f"addresses moved to {target}" if not done.unseen else f"ATTENTION, not all addresses are on {target}"
    return Mail(
        notify.subject(config.service_name, f"{finished}, {down}"),
        (
            (notify.HAPPENED, _happened(config, seen, done, target)),
            (notify.WHY, decision.reason),
            (notify.WHEN, reconcile.since(times)),
            (notify.CHECK, _check(seen, done)),
            (notify.UNDO, _undo(config, seen, done, times)),
        ),
    )


def _happened(config: Config, seen: Observed, done: Done, target: str) -> Words:
    others = {instance: state for instance, state in seen.instances.items() if instance != target}
    en = [", ".join(f"{instance} is {state}" for instance, state in others.items()) + "."]
    ja = [_stopped_ja(instance, state) for instance, state in others.items()]
    if done.moved:
        en.append(f"Moved to {seen.interfaces[done.to]}, and seen there afterwards:")
        ja.append(f"次を {_place_ja(seen, done.to)} へ移動し、移動後の状態を確認しました:")
    for name, place in done.moved.items():
        public = f" ({seen.elastic[name].public_ip})" if name in seen.elastic else ""
        en.append(f"  {name}{public}, {f'was on {seen.interfaces.get(place, place)}' if place else 'was nowhere'}")
        ja.append(f"  {name}{public}、移動元: {_place_ja(seen, place)}")
    if done.unseen:
        problems = [f"  {name}: {problem}" for name, problem in done.unseen.items()]
        en += ["ATTENTION, not seen there; the next run looks again and finishes it:", *problems]
        ja += ["注意: 次は移動を確認できていません (次回の実行で再試行します):", *problems]
    if left := pair.plan(config, seen).left:
        en += ["Not moved:", *(f"  {reason}" for reason in left.values())]
        ja += ["移動していないもの:", *(f"  {reason}" for reason in left.values())]
    return Words("\n".join(en), "\n".join(ja))


def _check(seen: Observed, done: Done) -> Words:
    private = [name for name in (*done.moved, *done.unseen) if pair.is_ipv4(name) or pair.is_ipv6(name)]
    networks = {name.split()[1] for name in (*done.moved, *done.unseen) if pair.is_route(name)}
    configured = ", ".join([*private, *sorted(networks)])
    target = seen.interfaces[done.to].instance_id
    en = ja = ""
    if configured:
        en = (
            f"EC2 delivers to {target} now, but its operating system must have {configured} configured: `ip address`.\n"
        )
        ja = f"通信は {target} に届きますが、OS 側にも {configured} の設定が必要です (`ip address` で確認)。\n"
    return Words(
        f"{en}The service itself, from a client. The addresses stay on {target} when the other instance is back.",
        f"{ja}クライアントからサービスを確認してください。もう一方が復帰しても、アドレスは {target} に残ります。",
    )


def _undo(config: Config, seen: Observed, done: Done, times: Times) -> Words:
    region = config.topic_arn.split(":")[3]
    back = [command.replace("aws ec2 ", f"aws ec2 --region {region} ", 1) for command in _back(seen, done)]
    commands = [hold.command(config, times.done), *back]
    if not done.moved:
        return Words(
            "Nothing was seen to move yet, so there is nothing to undo.",
            "移動をまだ確認できていないため、元に戻す操作はありません。",
        )
    if len(commands) == 1:
        return Words(
            "There is nowhere to go back to: the instance it was on is gone.",
            "移動元のインスタンスは存在しないため、元に戻す先はありません。",
        )
    text = "\n".join(commands)
    return Words(
        f"Start the other instance, hold kirikae off, or it will move them again; then move them back:\n{text}",
        f"もう一方のインスタンスを起動し、kirikae を保留にしてから元に戻してください (しないと再び移動します):\n{text}",
    )


def _back(seen: Observed, done: Done) -> Iterator[str]:
    """Yield the commands that bring back what was on an instance that can come back."""
    kept = {each.id for each in seen.interfaces.values() if seen.instances.get(each.instance_id, "") not in ec2.GONE}
    there = {name: place for name, place in done.moved.items() if place in kept}
    for place in dict.fromkeys(there.values()):
        ipv4 = _on(place, there, filter(pair.is_ipv4, there))
        ipv6 = _on(place, there, filter(pair.is_ipv6, there))
        if ipv4:
            yield (
                f"aws ec2 assign-private-ip-addresses --allow-reassignment --network-interface-id {place} "
                f"--private-ip-addresses {' '.join(ipv4)}"
            )
        if ipv6:
            given = f"--ipv6-addresses {' '.join(ipv6)}"
            yield f"aws ec2 unassign-ipv6-addresses --network-interface-id {done.to} {given}"
            yield f"aws ec2 assign-ipv6-addresses --network-interface-id {place} {given}"
        for allocation in _on(place, there, filter(pair.is_elastic, there)):
            private_ip = seen.elastic[allocation].private_ip
            if private_ip not in ipv4:  # it goes with its address
                yield (
                    f"aws ec2 associate-address --allow-reassociation --allocation-id {allocation} "
                    f"--network-interface-id {place} --private-ip-address {private_ip}"
                )
        for name in _on(place, there, filter(pair.is_route, there)):
            table, cidr = name.split()
            option = "--destination-ipv6-cidr-block" if ":" in cidr else "--destination-cidr-block"
            yield f"aws ec2 replace-route --route-table-id {table} {option} {cidr} --network-interface-id {place}"


def _on(place: str, places: Mapping[str, str], names: Iterable[str]) -> list[str]:
    return [name for name in names if places[name] == place]
