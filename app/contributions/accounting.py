"""Defines a contribution and its reported numbers, and computes them from a trainer's counters.

Pure functions and values. The reported numbers are:

    computeTime       seconds of forward, backward and optimizer work for samples that entered a
                      finished averaging round
    gradientQuality   100 × samples that entered ÷ samples computed
    dataTransmitted   KB (1000 bytes) of tensors sent to other peers in averaging rounds; not what
                      others downloaded, for they would raise the number by asking again
    uptimeRatio       100 × time training ÷ time in the swarm

A sample counts as computed when it is decided whether it enters a round, and intervals end when a
round has ended. So a sample counts in the interval that computed it, also if it is lost: what still
waits for a round at that moment was computed after it. Of samples whose trainer was killed nobody
knows whether they entered; they count in neither number.
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

LEAST_REPORTED = 0.005
"""Seconds. A contribution with less compute time would be a report of 0.00 s: it isn't sent."""

NOTHING = Work()

ReportedNumbers = tuple[float, float, float, float]
"""computeTime, gradientQuality, dataTransmitted, uptimeRatio, as defined above."""


# --- counters -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The work since an interval began, by one trainer or by several one after the other."""

    gone: Work = NOTHING
    """Work in this interval by trainers that have ended."""

    first: Work = NOTHING
    """Counters of the running trainer when the interval began; zeros if it started later."""

    last: Work = NOTHING
    """Counters of the running trainer as last reported."""

    def counted(self, work: Work) -> "Interval":
        """The interval after a trainer has reported its counters.

        Counters only rise, so smaller ones come from a new trainer.
        """
        if _is_later(work, self.last):
            return replace(self, last=work)
        return replace(self.trainer_gone(killed=True), last=work)

    def trainer_gone(self, *, killed: bool = False) -> "Interval":
        """The interval after the trainer has ended: its pending samples never enter a round.

        killed: it ended unexpectedly, so it isn't known whether they have entered.
        """
        return Interval(gone=self.so_far if killed else self.if_ended)

    @property
    def so_far(self) -> Work:
        """The work of the interval, without samples that still wait for a round."""
        return _plus(self.gone, _minus(_settled(self.last), _settled(self.first)))

    @property
    def if_ended(self) -> Work:
        """The work of the interval if the trainer ended now, because somebody wants it to."""
        return _plus(self.gone, _minus(_lost(self.last), _settled(self.first)))

    @property
    def is_untouched(self) -> bool:
        """No counter has risen in this interval."""
        return self.if_ended == NOTHING

    def after(self, earlier: "Interval") -> "Interval":
        """The rest of this interval once a contribution was made of what it was ``earlier``."""
        rest = _minus(self.so_far, earlier.so_far)
        return Interval(gone=rest, first=self.last, last=self.last)


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
    """Combine two counters field by field, rounded to milliseconds so that sums stay exact."""
    fields: dict[str, Any] = {
        name: round(how(getattr(one, name), getattr(other, name)), 3)
        for name in Work.__struct_fields__
    }
    return Work(**fields)


# --- contributions ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What this machine did for a run in one reporting interval."""

    id: str
    """A uuid that this machine has made."""

    run_id: str

    session_id: int | None = None
    """The backend's number of the run. None for a run that the backend doesn't know; then the
    contribution is not reported."""

    training_id: str | None = None
    """The backend's uuid of the run."""

    participant: str
    """Peer id of the app's peer."""

    started_at: float
    """Seconds since the epoch."""

    ended_at: float
    """Seconds since the epoch."""

    compute_time: float
    """Seconds; see computeTime above."""

    gradient_quality: float
    """0 to 100; see gradientQuality above."""

    data_transmitted: float
    """KB of 1000 bytes; see dataTransmitted above."""

    uptime_ratio: float
    """0 to 100; see uptimeRatio above."""

    samples_computed: int = 0

    samples: int = 0
    """Samples of this machine that entered a finished averaging round."""

    swarm_samples: int = 0
    """Samples of the whole swarm in the same rounds."""

    tokens: int = 0
    """Tokens in `samples`."""

    epochs: int = 0
    """Finished averaging rounds that this machine took part in."""

    bytes_sent: int = 0
    """Bytes of tensors sent to other peers, in averaging rounds or as the state for a newcomer."""

    bytes_received: int = 0
    """Bytes of tensors received from other peers."""

    energy: float | None = None
    """Joules that the training device used for any purpose; None where not known."""

    public_key: str = field(default="", repr=False)
    """Key of the signature, base64."""

    signature: str = field(default="", repr=False)
    """Signature over `document`, base64."""

    @property
    def score(self) -> int:
        """The score that the backend is expected to give, by the backend's own formula."""
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

    @property
    def is_reported(self) -> bool:
        """Whether it is for a run that the backend knows, and anything of it entered a round."""
        return self.session_id is not None and self.compute_time >= LEAST_REPORTED

    def report(self) -> dict[str, Any]:
        """The body of a report, in the backend's field names."""
        return {
            "sessionId": self.session_id,
            "participant": self.participant,
            "computeTime": self.compute_time,
            "gradientQuality": self.gradient_quality,
            "dataTransmitted": self.data_transmitted,
            "uptimeRatio": self.uptime_ratio,
        }

    def document(self) -> dict[str, Any]:
        """The JSON object that is signed: all fields but the signature; times in ISO 8601, UTC."""
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
        """The same contribution with this machine's public key and signature."""
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
    """Make a contribution of an interval's counters.

    seconds: length of the interval, all of it in the swarm. started_at: seconds since the epoch.
    energy: joules. identity: the fields id, run_id, session_id, training_id and participant.
    """
    return Contribution(
        **identity,
        started_at=round(started_at, 3),
        ended_at=round(started_at + seconds, 3),
        compute_time=work.compute_seconds,
        gradient_quality=percentage(work.samples_entered, work.samples_computed),
        data_transmitted=work.bytes_sent_in_rounds / KILOBYTE,
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
    """``part`` of ``whole``, 0 to 100, rounded to thousandths.

    Never above 100, though ``part`` may be larger when the two are measured one after the other.
    """
    return round(min(100.0, 100.0 * part / whole), 3) if whole > 0 else 0.0


def share(own: int, everybody: int) -> float | None:
    """This machine's share of the swarm's samples, 0 to 1; None if the swarm's aren't known."""
    return min(1.0, own / everybody) if everybody > 0 else None


def estimated_score(
    *, compute_time: float, gradient_quality: float, data_transmitted: float, uptime_ratio: float
) -> int:
    """The backend's formula for the score. Halves are rounded up, as JavaScript does."""
    score = (
        0.40 * compute_time
        + 0.35 * gradient_quality
        + 0.15 * data_transmitted
        + 0.10 * uptime_ratio
    )
    return max(0, math.floor(score + 0.5))


def iso(seconds: float) -> str:
    """Seconds since the epoch as text: ISO 8601, UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
