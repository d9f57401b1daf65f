"""What a swarm costs on a line, in words: bytes, exchanges, and the part of the time computing."""

from typing import TYPE_CHECKING

from app.common.i18n import _, ngettext
from app.settings.settings import Settings
from app.state.history import Rounds
from app.state.state import ContributorState
from app.terms.terms import MBIT
from ui.texts import costs, units

if TYPE_CHECKING:
    from app.spec.line import LineForecast, SwarmOnLines
    from app.spec.schema import SwarmSpec

PEERS = 8
"""Machines that a swarm is taken to have while nothing is known of it."""


def known_uplink(settings: Settings, rounds: Rounds) -> tuple[float, str]:
    """The upload of this line in Mbit/s, and where that comes from: the setting, what rounds have
    carried, or a usual line of a home."""
    from app.spec.line import HOME_LINE

    if settings.uplink:
        return settings.uplink, _("As you have set it")
    measured = rounds.upload / MBIT
    if measured > HOME_LINE:
        return round(measured, 1), _("What rounds have sent from here")
    return HOME_LINE, _("Usual at home; say what yours has")


def known_peers(spec: "SwarmSpec | None", state: ContributorState) -> int:
    """The machines of a swarm, this one included."""
    is_here = spec is not None and state.swarm is not None and state.swarm.run_id == spec.run_id
    trains = state.run.trainers if is_here and state.run is not None else 0
    return max(2, trains) if trains else PEERS


def _usable(uplink: float, state: ContributorState) -> float:
    """Bytes/s of a line of so many Mbit/s that the terms allow."""
    limit = state.terms.max_upload
    return (min(uplink, limit) if limit else uplink) * MBIT


def measured_speed(state: ContributorState, *, parameters: int) -> float | None:
    """FLOP/s of this machine's device as it trains now; None unless it trains a model of about so
    many parameters, since a much smaller one keeps no GPU busy."""
    from app.spec.line import WORK

    own = state.training
    is_alike = own is not None and 0.5 < (own.parameters or 0) / parameters < 2.0
    if is_alike and own is not None and own.parameters and own.tokens_per_second:
        return WORK * own.parameters * own.tokens_per_second
    return None


def _speed(state: ContributorState, *, parameters: int) -> float:
    """FLOP/s of this machine's device: measured, or else those of its kind."""
    from app.spec.line import CPU_SPEED, GPU_SPEED

    kind = costs.device_kind(costs.chosen_device(state))
    usual = CPU_SPEED if kind == "cpu" else GPU_SPEED
    return measured_speed(state, parameters=parameters) or usual


def swarm_on_lines(
    spec: "SwarmSpec", state: ContributorState, *, uplink: float, peers: int
) -> "SwarmOnLines":
    """A swarm of so many machines as this one. uplink: Mbit/s of each line."""
    from app.spec.line import SwarmOnLines

    estimate = costs.estimate_for(spec, costs.chosen_device(state))
    return SwarmOnLines(
        parameters=estimate.learning,
        whole=estimate.parameters,
        peers=peers,
        line=_usable(uplink, state),
        speed=_speed(state, parameters=estimate.parameters),
    )


def rows() -> dict[str, str]:
    """The labels of `facts`."""
    return {
        "upload": _("Uploads"),
        "computing": _("Computes"),
        "rounds": _("A round"),
    }


def facts(found: "LineForecast") -> dict[str, str]:
    """The figures of a forecast in a few words each."""
    return {
        "upload": _("{size} an hour").format(size=units.size(found.an_hour)),
        "computing": _("{percent} of the time").format(percent=units.percent(found.computing, 1)),
        "rounds": _("{size} sent every {time}").format(
            size=units.size(found.upload.usual), time=units.duration(found.epoch_seconds)
        ),
    }


def explanation(found: "LineForecast", *, peers: int) -> str:
    """What the figures are of, and what may differ."""
    time = units.duration(found.round_seconds)
    whose = ngettext(
        "For {count} machine with such a line and such a device.",
        "For {count} machines, each with such a line and such a device.",
        peers,
    )
    parts = [whose.format(count=units.count(peers))]
    if found.own_steps is None:
        parts.append(_("A round of averaging stops computing for {time}.").format(time=time))
    else:
        steps = max(1, round(found.own_steps))
        text = ngettext(
            "An exchange takes {time}, beside computing; between two of them each machine takes"
            " {count} step of its own.",
            "An exchange takes {time}, beside computing; between two of them each machine takes"
            " {count} steps of its own.",
            steps,
        )
        parts.append(text.format(time=time, count=units.count(steps)))
    if not found.ends_in_time:
        parts.append(_("That is longer than its time-out: it would fail with such lines."))
    if found.upload.most > found.upload.usual:
        text = _("At worst, if it alone can be reached fast, it sends {size} each time.")
        parts.append(text.format(size=units.size(found.upload.most)))
    return " ".join(parts)
