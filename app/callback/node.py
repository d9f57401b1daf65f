"""The node, as the CoTrain backend calls this machine's peer: start, stop, connect, status."""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.callback.host import KnownSwarms, SwarmAccess, WayBackAccess
from app.common.background import end
from app.common.errors import BusyError
from app.common.i18n import _
from app.p2p.network import best_first, with_peer_id
from app.state.state import ContributorState, Phase
from app.state.store import ReadableStore
from app.tasks.tasks import Tasks

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

SHOWN_SAMPLES = 40
"""The newest ones, for callers."""


class Node:
    """What callers may do with this machine's peer, and what they are told of it.

    identity_file: of the first trainer's peer. closing: set when the app ends; a call that waits
    then fails with `BusyError`.
    """

    def __init__(
        self,
        store: ReadableStore,
        *,
        swarm: SwarmAccess,
        recents: KnownSwarms,
        way_back: WayBackAccess,
        tasks: Tasks,
        identity_file: Path,
        closing: asyncio.Event,
    ) -> None:
        self._store = store
        self._swarm = swarm
        self._recents = recents
        self._way_back = way_back
        self._tasks = tasks
        self._identity_file = identity_file
        self._closing = closing
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> str:
        """Join the last swarm, or, if there was none, the network of the setting
        ``initial_peers``. Returns a message for the caller.

        Raises `JoinError`, or `BusyError` when the swarm was left meanwhile or the app is closing.
        """
        async with self._one_at_a_time:
            await self._until_joined_or_not()
            if self._swarm.joined:
                return "Hivemind node is already running"
            if not await self.unless_closing(self._join_last()):
                raise BusyError(_("the swarm was left before it was entered."))
            return "Hivemind node started"

    async def _join_last(self) -> bool:
        return await self._swarm.join(await self._last())

    async def _last(self) -> "SwarmSpec | None":
        """The most recent swarm that isn't local to this machine, else the last one of this run of
        the app."""
        recents = await self._recents.load()
        shared = (recent.spec for recent in recents if not recent.spec.local)
        return next(shared, self._swarm.last_spec)

    async def _until_joined_or_not(self) -> None:
        """Wait while somebody else is joining, such as the user in the window."""
        settled = asyncio.Event()

        def look(state: ContributorState) -> None:
            if state.phase is not Phase.JOINING:
                settled.set()

        looking = self._store.subscribe(look)
        try:
            look(self._store.state)
            await self.unless_closing(settled.wait())
        finally:
            looking.close()

    async def unless_closing(self, work: Any) -> Any:
        """The result of a coroutine. Raises `BusyError` when the app ends first."""
        working = asyncio.ensure_future(work)
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({working, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise BusyError(_("the app is closing."))
            return working.result()
        finally:
            await end(working, closing)

    async def stop(self) -> str:
        """End the task and training, and leave the swarm or the way back to one. Returns a message
        for the caller, which says what was stopped."""
        self._way_back.give_up()
        state = self._store.state
        stopped = ["training"] if state.trains_or_will else []
        if state.swarm is not None:
            stopped.append(f"the swarm {state.swarm.title}")
        elif state.returning is not None:
            stopped.append(f"the way back to {state.returning.title}")
        task = await self._tasks.stop()
        if task is not None:
            stopped.insert(0, f"the task {task.order.task_id} ({task.id})")
        if not stopped and self._store.state.phase is Phase.DISCONNECTED:
            return "Hivemind node is not running"
        await self._swarm.leave()
        return (
            f"Hivemind node stopped: {', '.join(stopped)}" if stopped else "Hivemind node stopped"
        )

    async def connect(self, peer_id: str, *, address: str, port: int) -> str:
        """Connect to one more peer; returns its multiaddr. Raises `ConnectError`."""
        return await self._swarm.connect(peer_id, host=address, port=port)

    # --- status

    async def identity(self) -> dict[str, Any]:
        """The addresses of the app's and the trainer's peer that most others can dial, and the
        app's peer id."""
        state = self._store.state
        return {
            "dht_address": with_peer_id(self._best(state.addresses), state.peer_id),
            "server_address": await self._server_address(state),
            "peer_id": state.peer_id,
        }

    def _best(self, addresses: Iterable[str]) -> str:
        announced = self._store.settings.announce
        return next(iter(best_first(addresses, announced=announced)), "")

    async def _server_address(self, state: ContributorState) -> str:
        """The trainer's multiaddr; while there is no trainer, the one that it will have."""
        own, spec = state.training, self._swarm.spec
        if own is not None and own.addresses:
            return with_peer_id(self._best(own.addresses), own.peer_id)
        direct = [each for each in state.addresses if "/p2p-circuit" not in each]
        host = self._best(direct).partition("/tcp/")[0] or "/ip4/0.0.0.0"
        port = 0 if spec is not None and spec.local else self._store.settings.server_port
        peer_id = await asyncio.to_thread(self._trainer_id)
        return with_peer_id(f"{host}/tcp/{port}", peer_id)

    def _trainer_id(self) -> str:
        """The peer id of the first trainer, which stays the same. Its key is made if there is none
        yet."""
        from app.p2p.run_records import load_identity

        return load_identity(self._identity_file).peer_id

    def status(self) -> dict[str, Any]:
        """Whether the node runs, and with how many other peers it is connected."""
        state = self._store.state
        found = {
            "status": status_of(state),
            "peer_id": state.peer_id,
            "connected_peers": len(state.peers),
            "dht_size": len(state.peers) + 1,
        }
        if found["status"] == "error" and state.problem is not None:
            problem = state.problem
            text = f"{problem.field}: {problem.message}" if problem.field else problem.message
            found["error"] = f"{text} {problem.remedy}".rstrip()
        return found

    def evaluation(self) -> dict[str, Any]:
        """What the swarm's model makes of held-out text, and the newest samples of its writing."""
        state = self._store.state
        newest, best, run = state.evaluation, state.best_evaluation, state.run
        return {
            "newest": newest.as_json() if newest else None,
            "best": best.as_json() if best else None,
            "swarm_held_out_loss": run.held_out_loss if run else None,
            "samples": [asdict(sample) for sample in state.samples[-SHOWN_SAMPLES:]],
        }

    def peers(self) -> list[dict[str, Any]]:
        """The connected peers, and when each was last seen."""
        return [
            {
                "peer_id": peer.peer_id,
                "address": peer.address,
                "last_seen": datetime.fromtimestamp(peer.last_seen, UTC),
            }
            for peer in self._store.state.peers
        ]


def status_of(state: ContributorState) -> str:
    """``running``, ``stopped`` or ``error``."""
    if state.phase is Phase.FAILED:
        return "error"
    if state.phase in (Phase.DISCONNECTED, Phase.JOINING):
        return "stopped" if state.problem is None else "error"
    return "running"
