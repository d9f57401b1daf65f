"""The machines of a swarm, built from their records: figures over time, totals, and warnings.

No network and no clock of its own: the caller passes the time. Times are seconds since the epoch
by our clock, unless stated otherwise.
"""

import math
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.p2p.machine_records import LEFT, Flaw, MachineRecord
from app.state.state import Phase

SILENT_SECONDS = 30.0
"""A machine publishes every five seconds; after so long, several records in a row are missing."""

READINGS_MISSED = 2.0
"""In a large swarm records are read less often than that; then a machine is silent after so many
readings without a record."""

HOT_CELSIUS = 85.0
"""About where GPUs begin to throttle."""

SLOW_SHARE = 0.7
"""A machine is slow below this share of its own usual rate."""

LEARN_SECONDS = 600.0
"""How long a machine must have trained before its usual rate is meaningful."""

FORGET_SECONDS = 24 * 3600.0
FORGET_LEFT_SECONDS = 600.0
FORGET_STRANGER_SECONDS = 600.0
"""How long a silent machine is kept none of whose peers was seen in the swarm."""

MAX_MACHINES = 5000
"""Anybody can publish records in a swarm, so what is kept of them is bounded."""

MACHINES_OF_A_PEER = 2
"""How many machines may name the same peer as theirs and have it vouch for them: those that came
first. A peer belongs to one machine, which may come back with a new key."""

METRICS = ("samples_per_second", "loss", "temperature", "power", "gpu_use", "cpu_use")
"""The fields of a record that are kept over time."""


FINE_SECONDS, ROUGH_SECONDS = 10.0, 300.0
"""Of a value in the figures of the last hour, and in those of the last day."""


class Concern(StrEnum):
    """Why someone should look at a machine."""

    FAILING = "failing"
    SILENT = "silent"
    HOT = "hot"
    SLOW = "slow"


class Track:
    """One figure over time, as a ring of floats; NaN is a gap.

    step: seconds that share one value. length: how many values are kept.
    """

    __slots__ = ("_first", "_length", "_step", "_values")

    def __init__(self, *, step: float, length: int) -> None:
        self._step, self._length = step, length
        self._first = 0
        self._values = array("f")

    def add(self, time: float, value: float | None) -> None:
        """Add a value; the last one of a step wins. None is a gap."""
        index = math.floor(time / self._step)
        end = self._first + len(self._values)
        if not self._values or index - end >= self._length:
            self._first, end = index, index
            del self._values[:]
        self._values.extend([math.nan] * (index + 1 - end))
        excess = len(self._values) - self._length
        if excess > 0:
            del self._values[:excess]
            self._first += excess
        if index >= self._first:
            self._values[index - self._first] = math.nan if value is None else value

    def restore(self, earlier: Iterable[tuple[float, float]]) -> None:
        """Put times and values of an earlier time, oldest first, before those that are there."""
        first, later = self._first, self._values
        self._values = array("f")
        for time, value in earlier:
            if not later or time < first * self._step:
                self.add(time, value)
        for place, value in enumerate(later):
            self.add((first + place + 0.5) * self._step, value)

    def since(self, time: float) -> tuple[list[float], list[float]]:
        """Times and values from ``time`` on."""
        skipped = max(0, math.floor(time / self._step) - self._first)
        values = self._values[skipped:].tolist()
        begin = (self._first + skipped + 0.5) * self._step
        return [begin + place * self._step for place in range(len(values))], values


HOUR, DAY = 3600.0, 24 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A machine as it is shown."""

    public_key: str
    """Of the key that signs its records (base64)."""
    record: MachineRecord
    """Its newest record."""
    first_seen: float
    last_seen: float
    """When its newest record reached us."""
    concerns: tuple[Concern, ...]
    vouched: bool = False
    """A peer of it was seen in the swarm."""

    @property
    def trains(self) -> bool:
        """It is training, as far as we know."""
        gone = Concern.SILENT in self.concerns
        return not gone and self.record.state in (Phase.TRAINING, Phase.AVERAGING)


class _Known:
    """What is kept of a machine."""

    __slots__ = (
        *("fine", "rough", "first_seen", "last_seen"),
        *("recent", "record", "trained", "usual", "vouched"),
    )

    def __init__(self, record: MachineRecord, now: float) -> None:
        self.record = record
        self.first_seen = now
        self.vouched = False  # a peer of it was seen in the swarm
        # its own clock tells when it was seen, if it was there before us; never a time to come
        self.last_seen = min(now, record.time)
        self.usual = self.recent = 0.0
        self.trained = 0.0
        self.fine = {name: Track(step=FINE_SECONDS, length=360) for name in METRICS}
        self.rough = {name: Track(step=ROUGH_SECONDS, length=288) for name in METRICS}
        self._note(record, self.last_seen)

    def take(self, record: MachineRecord, now: float) -> None:
        """Replace the record by a newer one."""
        passed = min(now - self.last_seen, SILENT_SECONDS)
        self._learn(record, max(0.0, passed))
        self.record, self.last_seen = record, now
        self._note(record, now)

    def _note(self, record: MachineRecord, now: float) -> None:
        for name in METRICS:
            value = getattr(record, name)
            self.fine[name].add(now, value)
            self.rough[name].add(now, value)

    def _learn(self, record: MachineRecord, passed: float) -> None:
        """Follow the rate: the usual one over half an hour, the recent one over half a minute."""
        rate = record.samples_per_second
        if record.state != Phase.TRAINING or rate is None:
            return
        if not self.trained:
            self.usual = self.recent = rate
        self.trained += passed
        self.usual += (rate - self.usual) * -math.expm1(-passed / min(1800.0, self.trained + 1))
        self.recent += (rate - self.recent) * -math.expm1(-passed / 30.0)

    def track(self, name: str, seconds: float) -> Track:
        return (self.fine if seconds <= HOUR else self.rough)[name]

    def concerns(self, now: float, silence: float) -> Iterable[Concern]:
        """silence: seconds without a record after which the machine is silent."""
        record = self.record
        if record.state == LEFT:
            return
        if record.state == Phase.FAILED:
            yield Concern.FAILING
        if now - self.last_seen > silence:
            yield Concern.SILENT
            return  # its other figures are out of date
        if record.temperature is not None and record.temperature >= HOT_CELSIUS:
            yield Concern.HOT
        known = self.trained >= LEARN_SECONDS and record.state == Phase.TRAINING
        if known and self.recent < SLOW_SHARE * self.usual:
            yield Concern.SLOW

    def is_silent(self, now: float, silence: float) -> bool:
        return self.record.state == LEFT or now - self.last_seen > silence

    def forgotten(self, now: float) -> bool:
        lasts = FORGET_SECONDS if self.vouched else FORGET_STRANGER_SECONDS
        if self.record.state == LEFT:
            lasts = FORGET_LEFT_SECONDS
        return now - self.last_seen > lasts


@dataclass(frozen=True, kw_only=True)
class FleetTotals:
    """Sums over the machines that are neither silent nor gone."""

    machines: int
    training: int
    samples_per_second: float
    power: float
    """Watts, of the machines that know theirs."""
    need_a_look: int
    """Machines with a warning; silent ones count here."""


class Fleet:
    """The machines of one swarm.

    dropped: how many records were refused, by flaw. pace: seconds between the last two readings of
    all records, 0 while there was only one.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self.dropped: Counter[Flaw] = Counter()
        self.pace = 0.0

    @property
    def _silence(self) -> float:
        return max(SILENT_SECONDS, READINGS_MISSED * self.pace)

    def take(
        self,
        records: Mapping[str, MachineRecord],
        now: float,
        *,
        peers: Collection[str] = frozenset(),
    ) -> None:
        """Add verified records, by public key. A record older than the known one is ignored.

        When all places are taken, a new machine gets that of a silent one. peers: the ids of the
        peers that we have seen in the swarm; a machine with one of them may also take the place
        of a machine without, which may be made up.
        """
        vouched = self._vouch(peers)
        displaceable: list[str] | None = None
        for public_key, record in records.items():
            known = self._known.get(public_key)
            if known is not None:
                if record.sequence > known.record.sequence:
                    known.take(record, now)
                continue
            made = _Known(record, now)
            made.vouched = _has_voucher(record, vouched, peers)
            if len(self._known) >= MAX_MACHINES:
                if displaceable is None:
                    displaceable = self._displaceable(now)
                if not displaceable or not self._yields(displaceable[-1], made, now):
                    continue
                del self._known[displaceable.pop()]
            self._known[public_key] = made

    def _vouch(self, peers: Collection[str]) -> Counter[str]:
        """Note which machines have a peer that was seen; returns for how many each peer vouches."""
        vouched: Counter[str] = Counter()
        for known in self._known.values():
            if _has_voucher(known.record, vouched, peers):
                known.vouched = True
        return vouched

    def _displaceable(self, now: float) -> list[str]:
        """Whose place may be taken: at the end silent strangers, the one seen longest ago last."""
        silence = self._silence
        found = [
            (known.vouched, not known.is_silent(now, silence), known.last_seen, public_key)
            for public_key, known in self._known.items()
        ]
        return [public_key for *_order, public_key in sorted(found, reverse=True)]

    def _yields(self, place: str, newcomer: _Known, now: float) -> bool:
        """Whether a known machine gives its place to a new one."""
        known = self._known[place]
        is_silent = known.is_silent(now, self._silence)
        if newcomer.vouched:
            return is_silent or not known.vouched
        return is_silent and not known.vouched

    def tidy(self, now: float) -> None:
        """Drop the machines that have been gone for long."""
        for public_key in [key for key, known in self._known.items() if known.forgotten(now)]:
            del self._known[public_key]

    def clear(self) -> None:
        """Drop all machines, for another swarm."""
        self._known.clear()
        self.dropped.clear()
        self.pace = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def machines(self, now: float) -> list[Machine]:
        """Every machine as it is now."""
        silence = self._silence
        return [
            Machine(
                public_key=public_key,
                record=known.record,
                first_seen=known.first_seen,
                last_seen=known.last_seen,
                concerns=tuple(known.concerns(now, silence)),
                vouched=known.vouched,
            )
            for public_key, known in self._known.items()
        ]

    def track(
        self, public_key: str, metric: str, *, seconds: float, now: float
    ) -> tuple[list[float], list[float]]:
        """Times and values of one of `METRICS` over the last ``seconds``, a day at most.

        Empty for an unknown machine.
        """
        known = self._known.get(public_key)
        if known is None:
            return [], []
        return known.track(metric, seconds).since(now - seconds)

    def tracks(self, public_key: str, *, since: float, until: float) -> list[list[float]]:
        """Times from ``since`` to ``until``, and the values of each of `METRICS` at them, in steps
        of `FINE_SECONDS`; all are of one length, 0 for an unknown machine."""
        known = self._known.get(public_key)
        if known is None:
            return [[] for _ in ("time", *METRICS)]
        found = [known.fine[name].since(since) for name in METRICS]
        times = [time for time in found[0][0] if time < until]
        return [times, *(values[: len(times)] for _, values in found)]

    def restore(
        self,
        public_key: str,
        *,
        fine: Sequence[tuple[float, ...]],
        rough: Sequence[tuple[float, ...]],
    ) -> None:
        """Put earlier figures before those of a machine, by `FINE_SECONDS` and `ROUGH_SECONDS`.

        Each row is a time and a value for each of `METRICS`. Nothing for an unknown machine.
        """
        known = self._known.get(public_key)
        if known is None:
            return
        for rows, tracks in ((fine, known.fine), (rough, known.rough)):
            for place, name in enumerate(METRICS, 1):
                tracks[name].restore((row[0], row[place]) for row in rows)

    def aliases(self) -> dict[str, str]:
        """Each peer's machine by its alias, by peer id. A peer that two machines claim is left
        out."""
        claims = [
            (peer_id, known.record.alias)
            for known in self._known.values()
            for peer_id in known.record.peer_ids
        ]
        counts = Counter(peer_id for peer_id, _ in claims)
        return {peer_id: alias for peer_id, alias in claims if counts[peer_id] == 1}


def _has_voucher(record: MachineRecord, vouched: Counter[str], peers: Collection[str]) -> bool:
    """Whether a peer of a machine was seen, and vouches for it; counts for how many it does."""
    seen = [peer_id for peer_id in record.peer_ids if peer_id in peers]
    vouched.update(seen)
    return any(vouched[peer_id] <= MACHINES_OF_A_PEER for peer_id in seen)


def totals(machines: Iterable[Machine]) -> FleetTotals:
    """Sum up some machines."""
    shown = [machine for machine in machines if machine.record.state != LEFT]
    here = [machine for machine in shown if Concern.SILENT not in machine.concerns]
    training = [machine for machine in here if machine.trains]
    return FleetTotals(
        machines=len(here),
        training=len(training),
        samples_per_second=math.fsum(m.record.samples_per_second or 0.0 for m in training),
        power=math.fsum(machine.record.power or 0.0 for machine in here),
        need_a_look=sum(bool(machine.concerns) for machine in shown),
    )


def labs(machines: Iterable[Machine]) -> list[str]:
    """All lab tags, sorted."""
    return sorted({machine.record.lab for machine in machines} - {""}, key=str.casefold)
