"""Energy, power and what they cost, in words: measured, or said to be estimated and how.

Measured are GPUs by NVML and CPUs by RAPL, where the counters can be read. What can't be measured
is estimated only by the watts that the user has set; there is no other figure for it.
"""

from dataclasses import dataclass

from app.common.i18n import _
from app.contributions.ledger import LedgerTotals
from app.settings.settings import Settings
from ui.texts import fleet as fleet_texts
from ui.texts import units

WATT_HOUR = 3600.0
"""In joules."""

DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class EnergyRules:
    """What the settings say of energy."""

    per_kwh: float = 0.0
    """What a kWh costs, in ``currency``; 0: not known."""

    currency: str = ""

    watts: float = 0.0
    """That this machine takes while it trains, where that isn't measured; 0: not known."""

    @classmethod
    def of(cls, settings: Settings) -> "EnergyRules":
        """Those of the settings in force."""
        return cls(
            per_kwh=settings.energy_price,
            currency=settings.currency,
            watts=settings.training_watts,
        )


MEASURED_ONLY = EnergyRules()


def energy(joules: float | None, rules: EnergyRules = MEASURED_ONLY) -> str:
    """Joules as ``4.2 Wh`` or ``1.3 kWh (0.39 €)``; a dash if not known."""
    if joules is None:
        return units.NONE
    hours = joules / WATT_HOUR
    text = (
        _("{number} kWh").format(number=units.rate(hours / 1000))
        if hours >= 1000
        else _("{number} Wh").format(number=units.rate(hours))
    )
    if not rules.per_kwh:
        return text
    return f"{text} ({hours / 1000 * rules.per_kwh:,.2f} {rules.currency})"


def used(totals: LedgerTotals, rules: EnergyRules) -> str:
    """What the training of some contributions took; "about" where a part of it is estimated."""
    text = energy(joules(totals, rules), rules)
    return _("about {energy}").format(energy=text) if _estimated(totals, rules) else text


def joules(totals: LedgerTotals, rules: EnergyRules) -> float | None:
    """Measured and estimated together; None where neither is known."""
    estimated = _estimated(totals, rules)
    return (totals.energy or 0.0) + estimated if estimated else totals.energy


def _estimated(totals: LedgerTotals, rules: EnergyRules) -> float:
    """Joules of the training that wasn't measured; 0.0 where nothing says how much."""
    return totals.unmeasured_time * rules.watts


def how_it_is_known(totals: LedgerTotals, rules: EnergyRules) -> str:
    """Which part of the energy is estimated, and how; "" where all of it was measured."""
    if not totals.unmeasured_time:
        return ""
    time = units.duration(totals.unmeasured_time)
    if not rules.watts:
        return _(
            "The energy of {time} of training couldn't be measured here. To have it estimated,"
            " enter “Watts while training” in the settings."
        ).format(time=time)
    return _(
        "Energy: {estimated} of it is an estimate, {watts} (as the settings say) for the {time} of"
        " training that couldn't be measured here."
    ).format(
        estimated=energy(_estimated(totals, rules), rules),
        watts=fleet_texts.power(rules.watts),
        time=time,
    )


def running_cost(
    now: float | None, before: float | None, rules: EnergyRules, *, trains: bool
) -> str:
    """What training takes at present, or what it will take, and how that is known.

    now: watts that are measured now; before: those measured in earlier training; None where
    nothing is. trains: this machine computes now.
    """
    if trains and now is not None:
        return _per_day(now, _("measured"), rules)
    if before is not None and not trains:
        return _per_day(before, _("as measured before"), rules)
    if rules.watts:
        return _per_day(rules.watts, _("estimated: as set"), rules)
    return units.NONE


def _per_day(watts: float, how: str, rules: EnergyRules) -> str:
    return _("{power}: {energy} a day, {how}").format(
        power=fleet_texts.power(watts), energy=energy(watts * DAY, rules), how=how
    )
