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

_LEAST_MONEY = 0.01


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


def energy(joules: float | None) -> str:
    """Joules as ``4.2 Wh`` or ``1.3 kWh``; a dash if not known."""
    if joules is None:
        return units.NONE
    hours = joules / WATT_HOUR
    if hours >= 1000:
        return _("{number} kWh").format(number=units.rate(hours / 1000))
    return _("{number} Wh").format(number=units.rate(hours))


def money(joules: float | None, rules: EnergyRules) -> str:
    """What joules cost, as ``0.39 €``; a dash if that isn't known."""
    if joules is None or not rules.per_kwh:
        return units.NONE
    price = joules / WATT_HOUR / 1000 * rules.per_kwh
    number = f"{price:,.2f}" if price == 0 or price >= _LEAST_MONEY else f"< {_LEAST_MONEY}"
    return f"{number} {rules.currency}"


def used(totals: LedgerTotals, rules: EnergyRules) -> str:
    """What the training of some contributions took; with ≈ where a part of it is estimated."""
    return _about(energy(joules(totals, rules)), totals, rules)


def spent(totals: LedgerTotals, rules: EnergyRules) -> str:
    """What that cost, in the same way."""
    return _about(money(joules(totals, rules), rules), totals, rules)


def _about(text: str, totals: LedgerTotals, rules: EnergyRules) -> str:
    return f"≈ {text}" if _estimated(totals, rules) and text != units.NONE else text


def joules(totals: LedgerTotals, rules: EnergyRules) -> float | None:
    """Measured and estimated together; None where neither is known."""
    estimated = _estimated(totals, rules)
    return (totals.energy or 0.0) + estimated if estimated else totals.energy


def _estimated(totals: LedgerTotals, rules: EnergyRules) -> float:
    """Joules of the training that wasn't measured; 0.0 where nothing says how much."""
    return totals.unmeasured_time * rules.watts


def how_it_is_known(totals: LedgerTotals, rules: EnergyRules) -> str:
    """Which part of the energy is estimated, and how, or what it takes for an estimate; "" where
    all of it was measured."""
    if not totals.unmeasured_time:
        return ""
    if not rules.watts:
        return _(
            "The energy of {time} of training couldn't be measured here. To have it estimated,"
            " enter “Watts while training” in the settings."
        ).format(time=units.duration(totals.unmeasured_time))
    return how_it_is_estimated(totals, rules)


def how_it_is_estimated(totals: LedgerTotals, rules: EnergyRules) -> str:
    """Which part of the energy is estimated, and how; "" where nothing is."""
    if not (estimated := _estimated(totals, rules)):
        return ""
    return _(
        "≈: {estimated} of the energy is an estimate, {watts} (as the settings say) for the {time}"
        " of training that couldn't be measured here."
    ).format(
        estimated=energy(estimated),
        watts=fleet_texts.power(rules.watts),
        time=units.duration(totals.unmeasured_time),
    )


def running_cost(
    now: float | None,
    before: float | None,
    rules: EnergyRules,
    *,
    most: float | None = None,
    trains: bool,
) -> str:
    """What training takes at present, or will take, and how that is known; "" where it isn't.

    now: watts that are measured now; before: those measured in earlier training; None where
    nothing is. most: watts that the device draws at most. trains: this machine computes now.
    """
    if trains and now is not None:
        watts, text = now, _("Training takes {power} at present, as measured: {a_day} a day.")
    elif before is not None and not trains:
        watts, text = before, _("Training took {power} here before, as measured: {a_day} a day.")
    elif rules.watts:
        watts = rules.watts
        text = _("Training takes about {power}, an estimate from the settings: {a_day} a day.")
    elif most is not None:
        watts = most
        text = _("Training takes at most {power}, the device's own limit: {a_day} a day.")
    else:
        return ""
    a_day = energy(watts * DAY)
    if rules.per_kwh:
        a_day = f"{a_day} ({money(watts * DAY, rules)})"
    return text.format(power=fleet_texts.power(watts), a_day=a_day)
