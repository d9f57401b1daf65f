"""The page in the browser of a door: it shows the swarm, and can start or stop nothing."""

import asyncio
from typing import Any

from app.callback.host import Sources
from app.callback.page.files import PageFiles
from app.callback.page.routes import PageParts
from app.callback.page.snapshot import snapshot
from app.callback.page.stream import PageStream
from app.callback.sources import FleetSource
from app.callback.tokens import ApiTokens
from app.common.logs import RingBuffer
from app.session import Session
from app.state.state import ContributorState


def page_of(session: Session, *, ring: RingBuffer, closing: asyncio.Event) -> PageParts:
    """What the page needs. Reads files. ring: the log lines. closing: set when the door closes."""
    machines = FleetSource(session.machines)

    def tell(state: ContributorState) -> dict[str, Any]:
        return snapshot(state, alias=machines.own_alias, steered=False)

    stream = PageStream(session.store, history=session.history, tell=tell, closing=closing)
    return PageParts(
        files=PageFiles(),
        tokens=ApiTokens(session.folders.callback_tokens),
        stream=stream,
        history=session.history,
        sources=Sources(machines=machines, log=ring),
        reads_are_open=False,  # also on loopback: a door is often behind a proxy
    )
