"""Which machines need a look, and why: a pure function of the fleet and the settings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.common.i18n import _
from app.common.plain import one_line
from app.p2p.machine_records import LEFT
from app.settings.settings import AlertKind, Settings
from app.swarm.fleet import Concern, Machine

GIGABYTE = 10**9
ANY_LAB = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """Something that is wrong with a machine now."""

    public_key: str
    """The machine's."""
    kind: AlertKind
    text: str
    """A sentence that begins with the machine's alias."""

    @property
    def key(self) -> str:
        """The same as long as the same is wrong."""
        return f"{self.public_key} {self.kind}"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRules:
    """What is told, of which machines."""

    kinds: frozenset[AlertKind]
    lab: str
    """The lab tag of the machines that are watched; `ANY_LAB` for all, "" for this one alone."""
    hot: float
    """In °C: at it, a machine is hot."""
    disk: float
    """In GB: below it, a machine's free disk is low."""

    @classmethod
    def of(cls, settings: Settings) -> "AlertRules":
        """Those of the settings in force."""
        return cls(
            kinds=frozenset(settings.alerts),
            lab=settings.alert_lab or settings.lab,
            hot=settings.alert_temperature,
            disk=settings.alert_disk,
        )


def alerts_of(machines: Iterable[Machine], rules: AlertRules, *, own_key: str) -> list[Alert]:
    """What is wrong with the watched machines now. own_key: the public key of this machine."""
    found = []
    for machine in machines:
        watched = rules.lab in (ANY_LAB, machine.record.lab) and bool(rules.lab)
        if watched or machine.public_key == own_key:
            found += [
                Alert(public_key=machine.public_key, kind=kind, text=text)
                for kind, text in _wrong_with(machine, rules)
                if kind in rules.kinds
            ]
    return found


def _wrong_with(machine: Machine, rules: AlertRules) -> Iterator[tuple[AlertKind, str]]:
    record, alias = machine.record, one_line(machine.record.alias)
    if record.state == LEFT:
        return
    if Concern.SILENT in machine.concerns:
        yield "silent", _("{machine} is silent.").format(machine=alias)
        return  # its other figures are out of date
    if Concern.FAILING in machine.concerns:
        reason = one_line(record.last_error) or _("it doesn't say why.")
        yield (
            "failing",
            _("{machine} has failed: {reason}").format(machine=alias, reason=reason),
        )
    if record.temperature is not None and record.temperature >= rules.hot:
        yield (
            "hot",
            _("{machine} is at {degrees:.0f} °C.").format(
                machine=alias, degrees=record.temperature
            ),
        )
    if Concern.SLOW in machine.concerns:
        text = _("{machine} is far slower than it usually is.")
        yield "slow", text.format(machine=alias)
    if record.refused:
        text = _("The backend has refused contributions of {machine}.")
        yield "refused", text.format(machine=alias)
    if record.disk_free is not None and record.disk_free < rules.disk * GIGABYTE:
        yield (
            "disk",
            _("{machine} has {free:.1f} GB of disk left.").format(
                machine=alias, free=record.disk_free / GIGABYTE
            ),
        )
