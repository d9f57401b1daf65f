"""Devices, their figures and their problems, in words."""

from collections.abc import Callable
from dataclasses import dataclass

from app.common.i18n import _, ngettext
from app.machine.devices import DeviceEntry
from app.machine.hardware import Figures
from app.state.facts import TrainerPart
from app.swarm.fleet import HOT_CELSIUS
from ui.texts import fleet as fleet_texts
from ui.texts import states as texts
from ui.texts import units

_WORTH_SAYING = 0.01
"""Smallest part of use or memory by other programs that is shown."""

_FULL_HEAT = 100.0
"""The top of the temperature's curve, in °C."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One of a device's figures, such as its temperature, ready for a gauge."""

    value: str
    """The figure with its unit; a dash if it isn't known."""

    share: float | None = None
    """The figure as part of its maximum, 0 to 1, for a bar or curve; None if unknown."""

    note: str = ""
    """A remark below the bar, such as the maximum."""

    hot: bool = False
    """The device is too hot."""


def details(entry: DeviceEntry) -> str:
    """The device's kind, memory and driver."""
    kind = _("processor") if entry.kind == "cpu" else entry.id
    memory = units.size(entry.memory) if entry.memory else ""
    driver = _("driver {version}").format(version=entry.driver) if entry.driver else ""
    return texts.DOT.join(part for part in (kind, memory, driver) if part)


def badge(entry: DeviceEntry) -> str:
    """Why the device is recommended; "" if it isn't."""
    return _("Recommended: {reason}").format(reason=entry.recommended) if entry.recommended else ""


def problem(entry: DeviceEntry) -> str:
    """Why the device can't train, and what to do about that."""
    return f"{entry.problem} {entry.remedy}"


def training(part: TrainerPart) -> str:
    """The speed of the trainer on a device; "" until it computes."""
    if part.samples_per_second is None:
        return ""
    text = ngettext(
        "Training: {rate} samples/s, {count} sample a step",
        "Training: {rate} samples/s, {count} samples a step",
        2 if part.micro_batch_size is None else part.micro_batch_size,
    )
    return text.format(
        rate=units.rate(part.samples_per_second), count=units.count(part.micro_batch_size)
    )


def figures(now: Figures) -> dict[str, Figure]:
    """All figures of a device, by the names of the gauges."""
    return {
        "use": _use(now),
        "memory": _memory(now),
        "temperature": _temperature(now),
        "power": _of_most(now.power, now.power_limit, fleet_texts.power),
        "clock": _of_most(now.clock, now.max_clock, _clock),
    }


def titles() -> dict[str, str]:
    """The titles of the gauges, by their names."""
    return {
        "use": _("Use"),
        "memory": _("Memory"),
        "temperature": _("Temperature"),
        "power": _("Power"),
        "clock": _("Clock"),
    }


def _use(now: Figures) -> Figure:
    others = now.others_use or 0.0
    note = _others(fleet_texts.share(others)) if others >= _WORTH_SAYING else ""
    return Figure(value=fleet_texts.share(now.use), share=now.use, note=note)


def _memory(now: Figures) -> Figure:
    if now.memory is None or now.memory_used is None:
        return Figure(value=units.NONE)
    others = now.others_memory or 0
    return Figure(
        value=units.part_of_size(now.memory_used, now.memory),
        share=_part(now.memory_used, now.memory),
        note=_others(units.size(others)) if others >= _WORTH_SAYING * now.memory else "",
    )


def _others(amount: str) -> str:
    return _("{amount} by other programs").format(amount=amount)


def _temperature(now: Figures) -> Figure:
    hot = now.temperature is not None and now.temperature >= HOT_CELSIUS
    return Figure(
        value=fleet_texts.temperature(now.temperature),
        share=_part(now.temperature, _FULL_HEAT),
        note=_("hot") if hot else "",
        hot=hot,
    )


def _of_most(
    value: float | None, most: float | None, text: Callable[[float | None], str]
) -> Figure:
    note = "" if value is None or most is None else _("of {most}").format(most=text(most))
    return Figure(value=text(value), share=_part(value, most), note=note)


def _clock(megahertz: float | None) -> str:
    if megahertz is None:
        return units.NONE
    return _("{number} GHz").format(number=f"{megahertz / 1000:.2f}")


def _part(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else min(1.0, part / whole)
