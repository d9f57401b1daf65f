"""What a contribution is: the numbers that are reported, by their definitions, and how they come
from a trainer's counters. Pure.

    computeTime       seconds of forward, backward and optimizer work for samples that entered a
                      finished averaging round
    gradientQuality   100 × samples that entered ÷ samples computed
    dataTransmitted   KB (1000 bytes) of tensors sent to other peers
    uptimeRatio       100 × time training ÷ time in the swarm

A sample is counted as computed in the interval in which its fate is known: in a long epoch it
waits for the round, and an interval that ended meanwhile would else look worse than it was, and
the next better than possible.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from app.protocol import Work

if TYPE_CHECKING:
    from app.common.signing import MachineKey

KILOBYTE = 1000

NOTHING = Work()

ReportedNumbers = tuple[float, float, float, float]
"""computeTime, gradientQuality, dataTransmitted, uptimeRatio, as defined above."""


# --- counters -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What was counted since an interval began, over however many trainers ran in it.

    gone: what the trainers that are gone did in it. first, last: counters of the one that runs,
    when the interval began (or nothing, if it started later) and as last reported.
    """

    gone: Work = NOTHING
    first: Work = NOTHING
    last: Work = NOTHING

    def counted(self, work: Work) -> "Interval":
        """A trainer has reported. Counters that fall are those of another one."""
        if _is_later(work, self.last):
            return replace(self, last=work)
        return replace(self.trainer_gone(), last=work)

    def trainer_gone(self) -> "Interval":
        """The trainer ended: what still waited for a round never enters one."""
        return Interval(gone=self.if_ended)

    @property
    def so_far(self) -> Work:
        """All of the interval whose fate is known."""
        return _plus(self.gone, _minus(_settled(self.last), _settled(self.first)))

    @property
    def if_ended(self) -> Work:
        """All of the interval, if the trainer is gone."""
        return _plus(self.gone, _minus(_lost(self.last), _settled(self.first)))

    @property
    def is_untouched(self) -> bool:
        """Nothing at all happened in it."""
        return self.if_ended == NOTHING

    def next(self) -> "Interval":
        """The interval that begins where this one ends, whose `so_far` was taken."""
        return Interval(first=self.last, last=self.last)


def _settled(work: Work) -> Work:
    computed = work.samples_computed - work.samples_pending
    return msgspec.structs.replace(work, samples_computed=computed, samples_pending=0)


def _lost(work: Work) -> Work:
    return msgspec.structs.replace(work, samples_pending=0)


def _is_later(work: Work, than: Work) -> bool:
    fields = set(Work.__struct_fields__) - {"samples_pending"}
    return all(getattr(work, name) >= getattr(than, name) for name in fields)


def _plus(one: Work, other: Work) -> Work:
    return _combined(one, other, lambda a, b: a + b)


def _minus(one: Work, other: Work) -> Work:
    return _combined(one, other, lambda a, b: a - b)


def _combined(one: Work, other: Work, how: Callable[[float, float], float]) -> Work:
    """Field by field. Seconds are whole milliseconds, so that sums stay exact."""
    fields: dict[str, Any] = {
        name: round(how(getattr(one, name), getattr(other, name)), 3)
        for name in Work.__struct_fields__
    }
    return Work(**fields)


# --- contributions ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What this machine did for a run in one reporting interval.

    id: ours, a uuid. session_id: the backend's number of the run, None when it has none: then
    there is nobody to report it to. training_id: its uuid. participant: peer id. Times in seconds
    since the epoch. The next four are the report's, see above. samples, tokens: that entered a
    finished averaging round; swarm_samples: everybody's in those `epochs` rounds. energy: joules
    that the training device used, by whatever it did; None where not known. public_key,
    signature: base64, over `document`.
    """

    id: str
    run_id: str
    session_id: int | None = None
    training_id: str | None = None
    participant: str
    started_at: float
    ended_at: float
    compute_time: float
    gradient_quality: float
    data_transmitted: float
    uptime_ratio: float
    samples_computed: int = 0
    samples: int = 0
    swarm_samples: int = 0
    tokens: int = 0
    epochs: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    energy: float | None = None
    public_key: str = field(default="", repr=False)
    signature: str = field(default="", repr=False)

    @property
    def score(self) -> int:
        """What the backend is expected to give for it, computed as it does."""
        return estimated_score(
            compute_time=self.compute_time,
            gradient_quality=self.gradient_quality,
            data_transmitted=self.data_transmitted,
            uptime_ratio=self.uptime_ratio,
        )

    @property
    def numbers(self) -> ReportedNumbers:
        """The four reported numbers."""
        return (
            self.compute_time,
            self.gradient_quality,
            self.data_transmitted,
            self.uptime_ratio,
        )

    def report(self) -> dict[str, Any]:
        """What is reported, by the backend's names."""
        return {
            "sessionId": self.session_id,
            "participant": self.participant,
            "computeTime": self.compute_time,
            "gradientQuality": self.gradient_quality,
            "dataTransmitted": self.data_transmitted,
            "uptimeRatio": self.uptime_ratio,
        }

    def document(self) -> dict[str, Any]:
        """What is signed: all of it but the signature; times in ISO 8601, UTC."""
        return self.report() | {
            "id": self.id,
            "runId": self.run_id,
            "trainingId": self.training_id,
            "startedAt": iso(self.started_at),
            "endedAt": iso(self.ended_at),
            "samplesComputed": self.samples_computed,
            "samples": self.samples,
            "swarmSamples": self.swarm_samples,
            "tokens": self.tokens,
            "epochs": self.epochs,
            "bytesSent": self.bytes_sent,
            "bytesReceived": self.bytes_received,
            "energy": self.energy,
            "publicKey": self.public_key,
        }

    def signed(self, key: "MachineKey") -> "Contribution":
        """The same with this machine's signature."""
        from app.common.signing import as_text, canonical

        named = replace(self, public_key=key.public_key)
        return replace(named, signature=as_text(key.sign(canonical(named.document()))))


def contribution_of(
    work: Work,
    *,
    seconds: float,
    started_at: float,
    energy: float | None = None,
    **identity: Any,
) -> Contribution:
    """The contribution that an interval's counters make.

    seconds: in the swarm during the interval; started_at: seconds since the epoch; identity:
    `Contribution`'s id, run_id, session_id, training_id and participant.
    """
    return Contribution(
        **identity,
        started_at=round(started_at, 3),
        ended_at=round(started_at + seconds, 3),
        compute_time=work.compute_seconds,
        gradient_quality=percentage(work.samples_entered, work.samples_computed),
        data_transmitted=work.bytes_sent / KILOBYTE,
        uptime_ratio=percentage(work.training_seconds, seconds),
        samples_computed=work.samples_computed,
        samples=work.samples_entered,
        swarm_samples=work.swarm_samples,
        tokens=work.tokens_entered,
        epochs=work.epochs,
        bytes_sent=work.bytes_sent,
        bytes_received=work.bytes_received,
        energy=None if energy is None else round(energy, 1),
    )


def percentage(part: float, whole: float) -> float:
    """0 to 100, in thousandths. A clock may tick between two measurements: never more."""
    return round(min(100.0, 100.0 * part / whole), 3) if whole > 0 else 0.0


def share(own: int, everybody: int) -> float | None:
    """How much of the swarm's samples are ours, 0 to 1; None where the swarm's aren't known."""
    return min(1.0, own / everybody) if everybody > 0 else None


def estimated_score(
    *, compute_time: float, gradient_quality: float, data_transmitted: float, uptime_ratio: float
) -> int:
    """The backend's formula; halves are rounded up, as in JavaScript."""
    score = (
        0.40 * compute_time
        + 0.35 * gradient_quality
        + 0.15 * data_transmitted
        + 0.10 * uptime_ratio
    )
    return max(0, math.floor(score + 0.5))


def iso(seconds: float) -> str:
    """A time in ISO 8601, UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
