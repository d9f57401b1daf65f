"""The page in the browser of a door: it shows the swarm, and can start or stop nothing."""

import asyncio

from app.callback.host import Sources
from app.callback.page.files import PageFiles
from app.callback.page.routes import PageParts
from app.callback.page.snapshot import snapshot
from app.callback.page.stream import PageStream
from app.callback.sources import FleetSource
from app.callback.tokens import ApiTokens
from app.common.addresses import is_loopback
from app.common.logs import RingBuffer
from app.session import Session


def page_of(session: Session, *, ring: RingBuffer, closing: asyncio.Event) -> PageParts:
    """What the page needs. Reads files. ring: the log lines. closing: set when the door closes."""
    settings = session.store.settings
    stream = PageStream(
        session.store,
        history=session.history,
        tell=lambda state: snapshot(state, alias=settings.alias, steered=False),
        closing=closing,
    )
    return PageParts(
        files=PageFiles(),
        tokens=ApiTokens(session.folders.callback_tokens),
        stream=stream,
        history=session.history,
        sources=Sources(machines=FleetSource(session.machines), log=ring),
        reads_are_open=is_loopback(settings.callback_host),
    )
