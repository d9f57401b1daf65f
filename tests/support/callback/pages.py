"""Something for the page in the browser to show: a swarm, curves, machines, and hostile texts."""

import logging
import time
from pathlib import Path

from app.callback.host import Sources
from app.callback.sources import sources_of
from app.common import logs
from app.contributions.ledger import Ledger
from app.p2p.sightings import PeerInfo, Run
from app.state.events import JoinBegan, Joined, PeersListed, RunObserved, TrainingRequested
from app.state.facts import Swarm
from tests.support.machine.machines import crowd
from tests.support.processes.sessions import OTHER_ID, PEER_ID, OfflineSession
from tests.support.training.works import contribution

HOSTILE = '<img src=x onerror="document.title=1"><script>alert(1)</script>{{token}}'
"""What somebody may call a machine or a swarm."""

PEERS = 40


class Shown:
    """A session that has something to show, besides the one that serves."""

    def __init__(self, folder: Path) -> None:
        self.session = OfflineSession(folder, alias="lab-07")
        self.ring = logs.RingBuffer()
        self.ring.setFormatter(logs._PlainFormatter("%(message)s"))  # as in `logs.start`

    @property
    def sources(self) -> Sources:
        return sources_of(
            self.session.store,
            ledger=self.session.contributions.ledger,
            machines=self.session.machines,
            log=self.ring,
        )

    async def open(self, *, machines: int) -> None:
        """Read the machines, write contributions and log lines."""
        await self.session.contributions.open()
        for number in range(3):
            made = contribution(number)
            await self.session.contributions.ledger.run(Ledger.add, made)
        now = time.time()
        self.session.machines.fleet.take(crowd(machines, now=now), now)
        for level, name, text in (
            (logging.INFO, "app.p2p", f"joined {HOSTILE}"),
            (logging.WARNING, "app.training", "the trainer is slow, token=abcdef"),
            (logging.INFO, "hivemind.dht", "inside of a library"),
        ):
            self.ring.handle(logging.LogRecord(name, level, "", 0, text, None, None))

    async def close(self) -> None:
        await self.session.close()


def joined(session: OfflineSession, *, trains: bool = True) -> None:
    """The session is in a swarm with a hostile title, and trains."""
    swarm = Swarm(
        run_id="run", title=HOSTILE, model_type="gpt2", dataset="builtin", target_batch_size=256
    )
    session.store.dispatch(JoinBegan(swarm=swarm))
    session.store.dispatch(Joined(peer_id=PEER_ID, addresses=("/ip4/127.0.0.1/tcp/1",)))
    now = time.time()
    known = tuple(
        PeerInfo(peer_id=f"{OTHER_ID[:-3]}{each:03}", address="/ip4/10.0.0.7/tcp/8", last_seen=now)
        for each in range(PEERS)
    )
    session.peer.connected = known
    session.store.dispatch(PeersListed(peers=known))
    session.store.dispatch(
        RunObserved(run=Run(epoch=3, samples=96, trainers=7, loss=2.9, samples_per_second=410.0))
    )
    if trains:
        session.store.dispatch(TrainingRequested(device="cpu"))
        session.trainer_reports(epoch=3, samples=40)
