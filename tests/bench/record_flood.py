"""How long a flood of records stops the loop that also paints the window:

    python tests/bench/record_flood.py [RECORDS]

A process of plain hivemind holds as many signed progress records, offers them to our node when it
reads the run, and stores all of them with it in one call. Then as many made-up machines come into
the fleet, and the local API lists them. Prints, as JSON and in milliseconds, the longest gap
between two beats of our loop, and the most that its thread computed in one.
"""

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from app.callback.schemas import Items  # noqa: E402
from app.callback.sources import FleetSource  # noqa: E402
from app.p2p.network import Network, listening  # noqa: E402
from app.p2p.peer import EmbeddedPeer, load_hivemind  # noqa: E402
from app.swarm.fleet import Fleet  # noqa: E402
from tests.support.machine.machines import crowd  # noqa: E402

RUN = "flood"
KEY_BITS = 1024
"""Of the attacker's keys: small ones are made fast, and are no cheaper to check than larger."""

BEAT_SECONDS = 0.002


async def beat(found: dict[str, float]) -> None:
    """Note the longest gap between two beats, and the most computed in one."""
    last, worked = time.perf_counter(), time.thread_time()
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        now, work = time.perf_counter(), time.thread_time()
        found["gap"] = max(found.get("gap", 0.0), 1e3 * (now - last))
        found["computed"] = max(found.get("computed", 0.0), 1e3 * (work - worked))
        last, worked = now, work


async def measured(work: Any) -> dict[str, float]:
    """The longest stops of the loop while something is awaited."""
    found: dict[str, float] = {}
    beating = asyncio.create_task(beat(found))
    await asyncio.sleep(0.1)
    found.clear()
    await work
    await asyncio.sleep(10 * BEAT_SECONDS)
    beating.cancel()
    return {name: round(value, 1) for name, value in found.items()}


def signed(count: int) -> Any:
    """So many progress records, each by an owner of its own."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from hivemind.dht.crypto import RSASignatureValidator
    from hivemind.dht.routing import DHTID
    from hivemind.dht.storage import DictionaryDHTValue
    from hivemind.dht.validation import DHTRecord
    from hivemind.utils import MSGPackSerializer, get_dht_time
    from hivemind.utils.crypto import RSAPrivateKey

    made, key = DictionaryDHTValue(), DHTID.generate(f"{RUN}_progress").to_bytes()
    for number in range(count):
        private = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        raw = private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        owner = RSAPrivateKey.__new__(RSAPrivateKey)
        owner.__setstate__({"_private_key": raw})
        validator = RSASignatureValidator(owner)
        value = {
            "peer_id": number.to_bytes(34, "big"),
            "epoch": 7,
            "samples_accumulated": 1,
            "samples_per_second": 1.0,
            "time": get_dht_time(),
            "client_mode": False,
        }
        subkey, until = validator.local_public_key, get_dht_time() + 150.0
        packed = MSGPackSerializer.dumps(subkey), MSGPackSerializer.dumps(value)
        record = DHTRecord(key, *packed, until)
        made.store(subkey, validator.sign_value(record), until)
    return made


async def flood(count: int) -> None:
    """The other process."""
    from hivemind.dht.node import DHTNode
    from hivemind.dht.routing import DHTID
    from hivemind.p2p import PeerID

    records, key = signed(count), DHTID.generate(f"{RUN}_progress")
    node = await DHTNode.create()
    for subkey, item in records.items():
        node.protocol.storage.store_subkey(key, subkey, item.value, item.expiration_time)
    print(str((await node.get_visible_maddrs())[0]), flush=True)
    victim = PeerID.from_base58((await asyncio.to_thread(sys.stdin.readline)).strip())
    await node.protocol.call_store(victim, [key], [records], records.latest_expiration_time)
    print("stored", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await node.shutdown()


async def read_run(peer: EmbeddedPeer, count: int) -> None:
    run = await peer.observe()
    assert run is not None
    assert run.trainers == count, run.trainers


def kept(node: Any) -> int:
    """How many of the records that were stored with us our node holds."""
    from hivemind.dht.routing import DHTID

    held = node.protocol.storage.get(DHTID.generate(f"{RUN}_progress"))
    return len(held.value) if held else 0


class Filled:
    """Of `FleetSync`, what the local API asks for."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def read(self) -> Any:
        return self.fleet.machines(time.time())


async def list_machines(fleet: Fleet) -> None:
    told: Any = await FleetSource(Filled(fleet)).machines()  # type: ignore[arg-type]
    if not isinstance(told, bytes):  # as FastAPI does with what isn't packed yet
        Items(data=told).model_dump_json()


async def main(count: int) -> dict[str, Any]:
    await load_hivemind()
    gc.collect()
    gc.freeze()  # as the app does once it is open
    attacker = subprocess.Popen(  # noqa: ASYNC220  begun before anything is measured
        [sys.executable, __file__, str(count), "flood"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert attacker.stdin is not None
    assert attacker.stdout is not None
    entry = await asyncio.to_thread(attacker.stdout.readline)
    with tempfile.TemporaryDirectory() as folder:
        peer = EmbeddedPeer(Path(folder) / "peer.pem")
        presence = await peer.join(
            RUN,
            initial_peers=[entry.strip()],
            network=Network(listen=listening(0, local=True), local=True),
        )
        found: dict[str, Any] = {"records": count}
        found["read"] = await measured(read_run(peer, count))
        attacker.stdin.write(f"{presence.peer_id}\n")
        attacker.stdin.flush()
        found["stored"] = await measured(asyncio.to_thread(attacker.stdout.readline))
        found["kept"] = kept(peer.node)
        found["read again"] = await measured(read_run(peer, count))
        await peer.leave()
    attacker.communicate("\n")
    fleet = Fleet()
    fleet.take(crowd(5000, now=time.time()), time.time())
    found["machines listed"] = await measured(list_machines(fleet))
    return found


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    if sys.argv[2:] == ["flood"]:
        asyncio.run(flood(size))
    else:
        print(json.dumps(asyncio.run(main(size)), indent=1))
