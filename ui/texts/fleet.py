"""Machines and peers in words."""

from collections import Counter

from app.common.i18n import _, ngettext
from app.p2p.machine_records import LEFT, Flaw
from app.p2p.sightings import PeerInfo
from app.state.state import Phase
from app.swarm.fleet import Concern, Machine
from ui.texts import units


def state(machine: Machine, now: float) -> str:
    """How a machine does: what someone should see to first, then what it is at."""
    if Concern.SILENT in machine.concerns:
        return _("silent {time}").format(time=age(machine.last_seen, now))
    words = [concern(one) for one in machine.concerns if one is not Concern.FAILING]
    return ", ".join([*words, phase(machine.record.state)])


def concern(one: Concern) -> str:
    """Why someone should look."""
    return {
        Concern.FAILING: _("failing"),
        Concern.SILENT: _("silent"),
        Concern.HOT: _("hot"),
        Concern.SLOW: _("slow"),
    }[one]


def phase(name: str) -> str:
    """What a machine is at; a newer version's word as it is."""
    words = {
        Phase.DISCONNECTED.value: _("not in the swarm"),
        Phase.JOINING.value: _("joining"),
        Phase.WATCHING.value: _("watching"),
        Phase.WAITING.value: _("waiting"),
        Phase.PREPARING.value: _("preparing"),
        Phase.TRAINING.value: _("training"),
        Phase.AVERAGING.value: _("averaging"),
        Phase.PAUSED.value: _("paused"),
        Phase.STOPPING.value: _("stopping"),
        Phase.FAILED.value: _("failed"),
        LEFT: _("has left"),
    }
    return words.get(name, name)


def age(moment: float, now: float) -> str:
    """How long ago, in one unit: ``40 s``, ``4 min``, ``2 h``, ``3 d``."""
    seconds = max(0.0, now - moment)
    for length, text in ((86400, _("{n} d")), (3600, _("{n} h")), (60, _("{n} min"))):
        if seconds >= length:
            return text.format(n=int(seconds // length))
    return _("{n} s").format(n=int(seconds))


def last_seen(moment: float, now: float) -> str:
    """When something was there last."""
    return _("now") if now - moment < 10 else _("{time} ago").format(time=age(moment, now))


def temperature(celsius: float | None) -> str:
    """``64 °C``."""
    return units.NONE if celsius is None else _("{number} °C").format(number=f"{celsius:.0f}")


def power(watts: float | None) -> str:
    """``200 W``, ``2.4 kW``."""
    if watts is None:
        return units.NONE
    if watts >= 1000:
        return _("{number} kW").format(number=f"{watts / 1000:.1f}")
    return _("{number} W").format(number=f"{watts:.0f}")


def share(part: float | None) -> str:
    """``93 %``; a dash when it isn't known."""
    return units.NONE if part is None else units.percent(part, 1)


def memory(used: int | None, whole: int | None) -> str:
    """``9.1 of 12 GiB``; a dash when it isn't known."""
    if used is None or whole is None:
        return units.NONE
    return _("{used} of {whole}").format(used=units.size(used), whole=units.size(whole))


def contributions(samples: int, rounds: int) -> str:
    """What a machine has given."""
    text = ngettext(
        "{samples} samples in {rounds} round", "{samples} samples in {rounds} rounds", rounds
    )
    return text.format(samples=units.count(samples), rounds=units.count(rounds))


def dropped(counts: Counter[Flaw]) -> str:
    """Where the records come from, and which weren't taken."""
    text = _("Each machine signs its own record.")
    total = counts.total()
    if not total:
        return text
    parts = ", ".join(
        _("{count} {what}").format(count=units.count(count), what=flaw(one))
        for one, count in counts.most_common()
    )
    head = ngettext("{count} was dropped: {parts}.", "{count} were dropped: {parts}.", total)
    return f"{text} {head.format(count=units.count(total), parts=parts)}"


def flaw(one: Flaw) -> str:
    """What is wrong with a record, after a number."""
    return {
        Flaw.OVERSIZED: _("too large"),
        Flaw.MALFORMED: _("malformed"),
        Flaw.ABSURD: _("with absurd values"),
        Flaw.FUTURE: _("from a clock ahead of ours"),
        Flaw.REPLAYED: _("replayed"),
        Flaw.WRONG_KEY: _("with a bad signature"),
    }[one]


def way(peer: PeerInfo) -> str:
    """How we are connected."""
    if not peer.address:
        return units.NONE
    return _("relayed") if peer.relayed else _("direct")


def latency(seconds: float | None) -> str:
    """``24 ms``, ``1.2 s``."""
    if seconds is None:
        return units.NONE
    if seconds < 1:
        return _("{number} ms").format(number=f"{seconds * 1000:.0f}")
    return units.seconds(seconds)
