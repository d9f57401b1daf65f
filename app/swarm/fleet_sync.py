"""Publishes this machine's record in the swarm, and reads all machines' records into the fleet."""

import asyncio
import hashlib
import logging
import math
import random
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import app
from app.common.background import Background, survived
from app.common.errors import UserFacingError
from app.common.subscription import Subscription, subscribed
from app.machine.hardware import Probe, Reading, SystemProbe
from app.machine.question import Question
from app.p2p import machine_records as records
from app.p2p.board import Board
from app.p2p.calls import CallError
from app.p2p.machine_records import LEFT, MOST_PEERS, Inspection, Inspector, MachineRecord
from app.state.history import History
from app.state.state import ContributorState, OwnTraining, Phase
from app.state.store import ReadableStore
from app.swarm.fleet import Fleet, Machine
from app.swarm.membership import Membership

if TYPE_CHECKING:
    from app.common.signing import MachineKey

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 5.0
READ_SECONDS = 5.0
IDLE_READ_SECONDS = 15.0
"""Between two readings while nobody watches: short enough that no machine seems silent (30 s), its
curve has no gaps, and the aliases are known everywhere."""
SECONDS_A_MACHINE = 0.06
"""In a large swarm, readings are further apart: all read what all publish."""

GOODBYE_SECONDS = 2.0

MACHINES_A_SLICE = 100
"""Machines that are taken into the fleet before the loop goes on: some 5 ms."""

FIRST_REPLICAS = 2
"""The first time, a shard is read from two of its holders: one may itself be new and empty."""


class FleetSync:
    """The machines of the swarm that we are in, from `open` to `close`.

    Publishes the record of this machine, and reads all records.

    key_file: of the key that signs our record. probe: measures this machine.
    fleet: the machines as they were read last. run_id: of the swarm that they are in; "" before the
    first one. public_key: of this machine, by which the fleet has it; "" before the key is loaded.
    publishing: whether our record is published.
    """

    def __init__(
        self,
        store: ReadableStore,
        *,
        membership: Membership,
        history: History,
        key_file: Path,
        probe: Probe | None = None,
    ) -> None:
        self.fleet = Fleet()
        self._store = store
        self._membership = membership
        self.publishing = store.settings.publish_machine
        self.public_key = self.run_id = self._made_up_name = ""
        self._key_file = key_file
        self._key: MachineKey | None = None
        self._history = history
        probe = probe or SystemProbe()
        self._hardware, self._release = Question(probe.read), Question(probe.close)
        self._board: Board | None = None
        self._inspector = Inspector("")
        self._publishing = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._read_at = -math.inf
        self._shown_on: Any = None  # the node on which our record lies
        self._left_on: Any = None  # the node on which we have said goodbye
        self._sequence = 0
        self._began = time.monotonic()
        self._watchers = 0
        self._look = asyncio.Event()
        self._background = Background()
        self._listeners: list[Callable[[], None]] = []

    # --- life

    def open(self) -> None:
        """Begin to publish and to read."""
        self._publishes = self._background.start(self._publish_always())
        self._reads = self._background.start(self._read_always())

    async def leave(self) -> None:
        """Publish that this machine leaves the swarm; called before it does.

        Failures are ignored: without this record the others see the machine go silent.
        """
        self._left_on = self._membership.node
        with survived(log, "the swarm can't be told that this machine leaves"):
            try:
                async with asyncio.timeout(GOODBYE_SECONDS), self._publishing:
                    if self._left_on is not None and self._shown_on is self._left_on:
                        await self._publish(leaving=True)
            except (TimeoutError, CallError, UserFacingError) as error:
                log.info("the swarm doesn't know that this machine leaves: %r", error)
        self._board = self._shown_on = None

    async def close(self) -> None:
        """End both loops. May be called twice."""
        await self._background.close()
        await self._release.answer()

    @property
    def alias(self) -> str:
        """The setting, or a name made from the machine's key; empty before the key is loaded."""
        return self._store.settings.alias or self._made_up_name

    def watch(self) -> Subscription:
        """Read now and more often, until the subscription is closed."""
        self._watchers += 1
        self._look.set()

        def stop() -> None:
            self._watchers -= 1

        return Subscription(stop)

    def subscribe(self, listener: Callable[[], None]) -> Subscription:
        """Call ``listener`` whenever the machines have been read."""
        return subscribed(self._listeners, listener)

    async def read(self) -> list[Machine]:
        """All machines, read anew if the last reading is older than a few seconds."""
        if time.monotonic() - self._read_at > READ_SECONDS:
            await self._read_once()
        return self.fleet.machines(time.time())

    async def reading(self) -> Reading:
        """This machine's hardware figures, measured now; unknown ones while a driver hangs."""
        return await self._hardware.answer() or Reading()

    async def set_publishing(self, publishing: bool) -> None:
        """Publish this machine's record from now on, or no longer."""
        self.publishing = publishing
        if publishing:
            self._left_on = None
        else:
            await self.leave()

    def _current_board(self) -> Board | None:
        """The board of the swarm that we are in; a new one for another swarm or node."""
        node, swarm = self._membership.node, self._store.state.swarm
        if node is None or swarm is None:
            return None
        if self.run_id != swarm.run_id:  # its machines are others
            self.run_id = swarm.run_id
            self.fleet.clear()
            self._read_at = -math.inf
            self._inspector = Inspector(swarm.run_id)
            self._board = None
        if self._board is None or self._board.node is not node:
            self._board = Board(node, swarm.run_id)
        return self._board

    # --- out

    async def _publish_always(self) -> None:
        while True:
            # jitter, so that the swarm's machines don't publish at the same moment
            await asyncio.sleep(PUBLISH_SECONDS * random.uniform(0.9, 1.1))
            with survived(log, "this machine's record couldn't be published"):
                try:
                    async with self._publishing:
                        if self.publishing and self._membership.node is not self._left_on:
                            await self._publish()
                except UserFacingError as error:
                    log.warning("this machine isn't shown to the swarm: %s", error.text)
                    return
                except (CallError, OSError) as error:
                    log.debug("this machine's record wasn't published: %r", error)

    async def _publish(self, *, leaving: bool = False) -> None:
        board = self._current_board()
        if board is None:
            return
        key = await self._load_key()
        free = await asyncio.to_thread(_disk_free, self._key_file.parent)
        record = self._record(await self.reading(), free)
        if leaving:
            record = msgspec.structs.replace(record, state=LEFT)
        sealed = await asyncio.to_thread(records.seal, record, key, board.run_id)
        expiration = record.time + records.LIFE_SECONDS
        taken = await board.publish(key.public_key, sealed, expiration)
        if taken and not leaving:
            self._shown_on = board.node

    async def _load_key(self) -> "MachineKey":
        if self._key is None:
            from app.common.signing import MachineKey

            self._key = await asyncio.to_thread(MachineKey.load_or_create, self._key_file)
            self.public_key = self._key.public_key
            self._made_up_name = _made_up_name(self.public_key)
        return self._key

    def _record(self, reading: Reading, disk_free: int | None) -> MachineRecord:
        now = time.time()
        self._sequence = max(self._sequence + 1, int(now * 1000))
        return record_of(
            self._store.state,
            reading,
            sequence=self._sequence,
            time=now,
            alias=self.alias,
            lab=self._store.settings.lab,
            up_seconds=time.monotonic() - self._began,
            samples=self._history.rounds.samples,
            rounds=self._history.rounds.count,
            crashes=self._history.mishaps.crashes,
            failed_rounds=self._history.mishaps.failed_rounds,
            disk_free=disk_free,
        )

    # --- in

    async def _read_always(self) -> None:
        while True:
            self._look.clear()
            await self._read_once()
            hurries = self._watchers or self._board is None
            idle = max(IDLE_READ_SECONDS, SECONDS_A_MACHINE * len(self.fleet))
            pause = READ_SECONDS if hurries else idle
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look.wait()

    async def _read_once(self) -> None:
        """Wait for the reading that is under way; begin one if there is none."""
        if self._reading is None or self._reading.done():
            self._reading = self._background.start(self._read())
        await asyncio.wait({self._reading})

    async def _read(self) -> None:
        board = self._current_board()
        if board is None:
            return
        last, self._read_at = self._read_at, time.monotonic()
        replicas = 1 if len(self.fleet) else FIRST_REPLICAS
        with survived(log, "the machines couldn't be read"):
            try:
                await board.read(self._inspector, self._take, replicas=replicas)
                self.fleet.pace = time.monotonic() - last if last > -math.inf else 0.0
                self.fleet.tidy(time.time())
                self._inspector.tidy(time.time())
                for listener in tuple(self._listeners):
                    listener()
            except CallError as error:
                log.debug("the machines can't be read: %s", error)

    async def _take(self, findings: Inspection) -> None:
        """Add what was found, some machines at a time: others may have made up thousands."""
        self.fleet.dropped.update(findings.dropped)
        state, seen, run_id = self._store.state, self._history.peers, self.run_id
        peers = {*seen.here, *seen.gone, *(state.run.trainer_ids if state.run else ())}
        found = list(findings.records.items())
        for start in range(0, len(found), MACHINES_A_SLICE):
            part = dict(found[start : start + MACHINES_A_SLICE])
            if self.run_id == run_id:  # unless we went to another swarm meanwhile
                self.fleet.take(part, time.time(), peers=peers)
            await asyncio.sleep(0)


def _disk_free(folder: Path) -> int | None:
    """In bytes; None where that can't be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _made_up_name(public_key: str) -> str:
    """An alias for a machine without one: unique, and without any information about it."""
    return f"machine-{hashlib.sha256(public_key.encode()).hexdigest()[:4]}"


def record_of(state: ContributorState, reading: Reading, **fields: Any) -> MachineRecord:
    """This machine's record. fields: those that come from neither the state nor the reading."""
    own = state.training
    device = own.device if own is not None else state.device
    gpu = reading.gpu_of(device)
    works = state.phase in (Phase.TRAINING, Phase.AVERAGING) and own is not None
    told: dict[str, Any] = {
        "app_version": app.__version__,
        "state": state.phase.value,
        "device": _device_name(state) or (gpu.name if gpu else ""),
        "peer_ids": tuple(filter(None, (state.peer_id, *_trainers(own))))[:MOST_PEERS],
        "epoch": own.epoch if own else None,
        "loss": own.loss if own else None,
        "samples_per_second": own.samples_per_second if works and own else None,
        "tokens_per_second": own.tokens_per_second if works and own else None,
        "computing": own.computing if works and own else None,
        "bytes_sent": own.bytes_sent if own else 0,
        "cpu_use": reading.cpu.use,
        "memory": reading.cpu.memory,
        "memory_used": reading.cpu.memory_used,
        "refused": state.reporting.refused,
        "last_error": _without_paths(state.problem.message) if state.problem else "",
    }
    if gpu is not None:
        told |= {
            "gpu_use": gpu.use,
            "gpu_memory": gpu.memory,
            "gpu_memory_used": gpu.memory_used,
            "temperature": gpu.temperature,
            "power": gpu.power,
        }
    return MachineRecord(**told | fields)


def _trainers(own: OwnTraining | None) -> list[str]:
    """Peer ids of our trainers."""
    if own is None:
        return []
    return [part.peer_id for part in own.parts] or [own.peer_id]


def _device_name(state: ContributorState) -> str:
    if state.training is not None and state.training.device_name:
        return state.training.device_name
    chosen = next((device for device in state.devices if device.id == state.device), None)
    return chosen.name if chosen else ""


_PATH = re.compile(r"(?<![\w:/])(?:~|[A-Za-z]:)?[/\\][^\s'\",;:)]+")


def _without_paths(message: str) -> str:
    """An error's text without paths, which would tell the user's name to the swarm."""
    return _PATH.sub("…", message)
