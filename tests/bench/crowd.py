"""Many machines on few real DHT nodes: each has its own key and publishes its own record.

    python tests/bench/crowd.py RUN_ID NODES MACHINES [INITIAL_PEER...]

Prints an address of each node, then ``published`` once every record lies in the DHT; publishes
again every `SECONDS` until its stdin is closed. What one machine's publishing costs the network
is measured first, with one machine that publishes as the app does.
"""

import asyncio
import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from app.p2p import machine_records as records  # noqa: E402
from tests.support.machine.machines import new_key, record  # noqa: E402

SECONDS = 10.0
"""Half as often as the app: all of the swarm's work is done by this one computer."""

ALONE = 24
"""How often a machine publishes for the measurement; the look-up of holders is shared out."""


async def node(run_id: str, initial_peers: list[str]) -> Any:
    """A full node with the run's validators."""
    from hivemind.dht.node import DHTNode
    from hivemind.dht.validation import CompositeValidator
    from hivemind.utils.crypto import RSAPrivateKey

    from app.p2p import run_records as swarm

    validators = swarm.validators(run_id, RSAPrivateKey())
    return await DHTNode.create(
        initial_peers=initial_peers,
        record_validator=CompositeValidator(validators),
        startup_timeout=60,
    )


def count_bytes() -> list[int]:
    """Count what goes out and comes in with each call from now on."""
    from hivemind.p2p import P2P

    counted = [0]
    call = P2P.call_protobuf_handler

    async def counting(self: Any, peer: Any, name: str, message: Any, kind: Any) -> Any:
        answer = await call(self, peer, name, message, kind)
        counted[0] += message.ByteSize() + answer.ByteSize()
        return answer

    P2P.call_protobuf_handler = counting
    return counted


def told(number: int, sequence: int) -> records.MachineRecord:
    """A machine's record just now."""
    swing = math.sin(time.time() / 60 + number)
    return record(
        sequence=sequence,
        time=time.time(),
        alias=f"machine-{number:04}",
        lab=f"lab-{number % 7}",
        samples_per_second=100 + 5 * swing + random.random(),
        temperature=65 + 3 * swing,
        power=250 + 20 * swing,
    )


class Crowd:
    """Machines that publish together: one call for all those of a shard."""

    def __init__(self, nodes: list[Any], run_id: str, machines: int) -> None:
        from app.p2p.board import Board

        self._boards = [Board(one, run_id) for one in nodes]
        self._run_id = run_id
        self._keys = [new_key() for _ in range(machines)]
        self._sequence = 0

    async def publish(self) -> None:
        """A new record of every machine."""
        self._sequence += 1
        shards: dict[int, list[tuple[str, bytes, float]]] = {}
        for number, key in enumerate(self._keys):
            one = told(number, self._sequence)
            entry = (
                key.public_key,
                records.seal(one, key, self._run_id),
                one.time + records.LIFE_SECONDS,
            )
            shards.setdefault(records.shard_of(key.public_key), []).append(entry)
        for shard, entries in shards.items():
            for start in range(0, len(entries), 50):
                await self._store(shard, entries[start : start + 50])

    async def _store(self, shard: int, entries: list[tuple[str, bytes, float]]) -> None:
        board = self._boards[shard % len(self._boards)]
        key, protocol = board._keys[shard], board.node.protocol
        holders = (await board._holders_of([key]))[key]
        names, sealed, ends = zip(*entries, strict=True)
        values = [protocol.serializer.dumps(one) for one in sealed]
        for peer in holders:
            if peer == board.node.peer_id:
                for name, value, end in zip(names, values, ends, strict=True):
                    protocol.storage.store_subkey(key, name, value, end)
            else:
                taken = await protocol.call_store(peer, [key] * len(names), values, ends, names)
                assert taken, "a holder didn't answer"


async def bytes_a_minute(one: Any, run_id: str) -> float:
    """What a machine that publishes as the app does sends and receives."""
    from app.p2p.board import Board
    from app.swarm.fleet_sync import PUBLISH_SECONDS

    board, key, counted = Board(one, run_id), new_key(), count_bytes()
    for sequence in range(1, ALONE + 1):
        now = told(0, sequence)
        await board.publish(
            key.public_key, records.seal(now, key, run_id), now.time + records.LIFE_SECONDS
        )
    return counted[0] / ALONE * 60 / PUBLISH_SECONDS


async def main(run_id: str, nodes: int, machines: int, initial_peers: list[str]) -> None:
    """Open the nodes, publish until stdin is closed."""
    opened: list[Any] = []
    for _ in range(nodes):
        opened.append(await node(run_id, initial_peers))
        addresses = [str(address) for address in await opened[-1].get_visible_maddrs()]
        initial_peers = initial_peers or addresses
        print(json.dumps(addresses), flush=True)
    print(await bytes_a_minute(opened[-1], f"{run_id}-alone"), flush=True)
    crowd = Crowd(opened, run_id, machines)
    await crowd.publish()
    print("published", flush=True)
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not closed.done():
        await asyncio.wait({closed}, timeout=SECONDS)
        await crowd.publish()
    for one in opened:
        await one.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
