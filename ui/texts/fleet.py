"""Machines and peers in words."""

from collections import Counter
from collections.abc import Sequence

from app.common.i18n import _, ngettext
from app.p2p.machine_records import LEFT, Flaw
from app.p2p.sightings import PartFault, PeerInfo
from app.state.facts import MemberFault
from app.state.state import Phase
from app.swarm.fleet import Concern, Machine, totals
from ui.texts import units


def machine_name(machine: Machine, *, own: bool) -> str:
    """A machine's alias. own: it is the one that the app runs on, which is said."""
    alias = machine.record.alias
    return _("{alias} (this machine)").format(alias=alias) if own else alias


def how_many(machines: Sequence[Machine], *, lab: str) -> str:
    """How many machines are there, and how many of them are of a lab, "" for none."""
    here = totals(machines).machines
    if not lab or not here:
        return units.count(here or None)
    ours = totals(each for each in machines if each.record.lab == lab).machines
    text = _("{count}, {ours} of your lab")
    return text.format(count=units.count(here), ours=units.count(ours))


def machine_state(machine: Machine, now: float) -> str:
    """What is wrong with a machine, if anything, and its phase."""
    if Concern.SILENT in machine.concerns:
        return _("silent {time}").format(time=age(machine.last_seen, now))
    words = [concern(one) for one in machine.concerns if one is not Concern.FAILING]
    return ", ".join([*words, phase(machine.record.state)])


def concern(one: Concern) -> str:
    """Why a machine needs a look, in a word."""
    return {
        Concern.FAILING: _("failing"),
        Concern.SILENT: _("silent"),
        Concern.HOT: _("hot"),
        Concern.SLOW: _("slow"),
    }[one]


def phase(name: str) -> str:
    """A machine's phase in words. An unknown phase, of a newer version, is returned unchanged."""
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
    """How long ago something was seen last; ``now`` below 10 s."""
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
    """A part from 0 to 1 as ``93 %``; a dash if it isn't known."""
    return units.NONE if part is None else units.percent(part, 1)


def memory(used: int | None, whole: int | None) -> str:
    """Two sizes in bytes as ``9.1 GiB of 12 GiB``; a dash if either isn't known."""
    if used is None or whole is None:
        return units.NONE
    return _("{used} of {whole}").format(used=units.size(used), whole=units.size(whole))


def contributions(samples: int, rounds: int) -> str:
    """What a machine has contributed, by its own record."""
    text = ngettext(
        "{samples} samples in {rounds} round", "{samples} samples in {rounds} rounds", rounds
    )
    return text.format(samples=units.count(samples), rounds=units.count(rounds))


def mishaps(crashes: int, failed_rounds: int) -> str:
    """What went wrong on a machine since it joined: ``none``, ``2, and 1 failed round``."""
    if not failed_rounds:
        return units.count(crashes) if crashes else _("none")
    text = ngettext(
        "{crashes}, and {rounds} failed round",
        "{crashes}, and {rounds} failed rounds",
        failed_rounds,
    )
    return text.format(crashes=units.count(crashes), rounds=units.count(failed_rounds))


def dropped_records(counts: Counter[Flaw]) -> str:
    """That machines sign their records, and how many records were dropped, and why."""
    text = _("Each machine signs its own record.")
    total = counts.total()
    if not total:
        return text
    parts = ", ".join(
        _("{count} {what}").format(count=units.count(count), what=flaw(one))
        for one, count in counts.most_common()
    )
    head = ngettext(
        "{count} record was dropped: {parts}.", "{count} records were dropped: {parts}.", total
    )
    return f"{text} {head.format(count=units.count(total), parts=parts)}"


def flaw(one: Flaw) -> str:
    """What is wrong with records, in words that follow a number: ``3 too large``."""
    return {
        Flaw.OVERSIZED: _("too large"),
        Flaw.MALFORMED: _("malformed"),
        Flaw.ABSURD: _("with impossible values"),
        Flaw.FUTURE: _("dated in the future"),
        Flaw.REPLAYED: _("replayed"),
        Flaw.WRONG_KEY: _("with a bad signature"),
    }[one]


def connection(peer: PeerInfo) -> str:
    """How we are connected to a peer: ``direct`` or ``relayed``; a dash if we aren't."""
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


def fault(told: MemberFault, now: float) -> str:
    """What a member of our averaging rounds did, how often and when, in one sentence."""
    times = ngettext("once", "{count} times", told.count).format(count=units.count(told.count))
    values = {
        "peer": units.shortened(told.peer_id),
        "did": told.fault.text,
        "times": times,
        "epoch": units.count(told.epoch),
    }
    if told.is_evicted(now) and told.evicted_until is not None:
        until = units.clock(told.evicted_until)
        text = _("{peer} {did}, {times}, last in epoch {epoch}; it is left out until {time}.")
        return text.format(time=until, **values)
    return _("{peer} {did}, {times}, last in epoch {epoch}.").format(**values)


def standing(faults: Sequence[MemberFault], now: float) -> str:
    """How a peer stands in our averaging rounds, in a word or two; "" when nothing is wrong."""
    if any(each.is_evicted(now) for each in faults):
        return _("left out")
    if any(each.fault is not PartFault.SILENT for each in faults):
        return _("at fault")
    return _("slow") if faults else ""
