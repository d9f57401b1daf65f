"""Takes over the state of a swarm, if a donor has one that can be believed.

A donor may lie. So the state is checked before it is kept: all of it is finite, another donor
holds the same where there is another one, and on a batch of ours the model is not worse than
before, neither as it comes nor after a step that only the optimizer's statistics drive.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hivemind.p2p import PeerID

from app.common.i18n import _
from app.p2p.calls import CallError
from app.p2p.states.comparing import opinions
from app.p2p.states.download import (
    DonorCalls,
    DonorError,
    DonorTurns,
    Download,
    OtherModelError,
    is_unknown_call,
)
from app.p2p.states.wire import Header
from app.protocol import StateDownload
from app.trainer.joining.judge import LocalState, StateOffer, fits_its_epoch, judge
from app.trainer.joining.plain import fetch_plain
from app.trainer.peer.doors import Doors

log = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""Between two looks for donors, when none of them had a state for us."""

REPORT_SECONDS = 0.5

MOST_BEHIND = 10
"""Epochs. A swarm that got further ahead while we downloaded is asked again for the state."""

MOST_DOWNLOADS_IN_A_ROW = 3
"""A swarm whose epochs are much shorter than the download would be chased for ever."""

MOST_DISPUTED = 3
"""States that are held against each other where donors disagree: each takes memory."""

DOOR_SECONDS = 10.0
"""How long the doors may take to say which snapshot they have."""

DOOR_PATIENCE_SECONDS = 300.0
"""Without a byte of a snapshot that is shown, after which training begins without it."""

REFUSED_SECONDS = 600.0
"""How long a donor isn't asked again after its state was refused."""


class SwarmView(Protocol):
    """What a newcomer asks about the swarm."""

    async def donors(self) -> list[PeerID]:
        """Peers that offer their state, the best first, without ourselves."""

    @property
    def epoch(self) -> int:
        """That most of its peers are in."""

    @property
    def others(self) -> int:
        """Trainers in it beside us."""

    @property
    def begins(self) -> bool:
        """Nobody trains beside us, or nobody has got anywhere yet: a door may have more than we."""


@dataclass(kw_only=True)
class Newcomer:
    """One peer that takes over a swarm's state, as often as it lost it."""

    state: LocalState
    swarm: SwarmView
    report: Callable[[StateDownload], None]
    is_followed: bool = False
    """What the swarm does during a download is made up for otherwise, however long it takes."""

    snapshot_epoch: int | None = None
    """Of the door's snapshot with which we began; None where we began otherwise."""

    _refused: dict[PeerID, tuple[float, str]] = field(default_factory=dict)
    """Donors whose state was refused: until when they aren't asked (monotonic time), and why."""

    _reported_at: float = 0.0

    async def take_over(self, calls: DonorCalls) -> int | None:
        """Load the swarm's state; the epoch to go on with, or None when nobody is there any more.

        Goes on as long as there is a swarm and no state that can be believed.
        """
        for _attempt in range(MOST_DOWNLOADS_IN_A_ROW):
            offer = await self._believable(calls)
            if offer is None:
                return None
            if self.is_followed:  # a donor is a moment ahead of what we know at most
                return min(offer.epoch, self.swarm.epoch + 1)
            behind = self.swarm.epoch - offer.epoch
            if behind <= MOST_BEHIND:
                break
            log.info("the swarm got %d epochs ahead meanwhile: loading its state again", behind)
        return self.swarm.epoch

    async def _believable(self, calls: DonorCalls) -> StateOffer | None:
        """An offer that is loaded; None when nobody is there any more."""
        while offers := await self._offers(calls):
            best = self._settled(offers)
            if best is not None:
                return best
        return None

    async def _offers(self, calls: DonorCalls) -> list[StateOffer]:
        """One that most donors confirm, or all that are disputed; none when nobody is there."""
        disputed: list[StateOffer] = []
        download = self._nothing()
        while len(disputed) < MOST_DISPUTED:
            offer, reason = await self._offer(calls, download, besides=disputed)
            if offer is not None:
                if not await self._is_disputed(calls, offer):
                    self._refuse(_givers(disputed), _("most other peers hold another state"))
                    return [offer]
                disputed.append(offer)
                download = self._nothing()
            elif disputed:
                break
            elif await self._is_alone():
                return []
            else:
                self._say(download, problem=reason)
                await asyncio.sleep(WAIT_SECONDS)
        return disputed

    def _nothing(self) -> Download:
        layout = self.state.layout
        return Download(layout=layout, content=bytearray(layout.size), exact=layout.exact)

    async def _is_alone(self) -> bool:
        return self.swarm.others == 0 and not await self.swarm.donors()

    # --- a door's snapshot

    async def take_snapshot(self, calls: DonorCalls, doors: Doors, *, own_epoch: int) -> int | None:
        """Load the newest snapshot of the doors, if neither the swarm nor we have got as far
        without it; the epoch to go on with, or None where there is none that can be believed.

        A download that broke off goes on where it was, from the same door.
        """
        download: Download | None = None
        of = "", ""
        refused: set[PeerID] = set()
        most = 0  # bytes that have ever arrived of a snapshot
        give_up_at = time.monotonic() + DOOR_PATIENCE_SECONDS
        while self.swarm.begins and time.monotonic() < give_up_at:
            reason = ""
            for door, header in await self._shown(calls, doors, own_epoch):
                if door in refused:
                    continue
                if download is None or of != (str(door), header.digest):
                    download = None  # before the next one takes its memory
                    download, of = self._nothing(), (str(door), header.digest)
                try:
                    epoch = await self._from_door(calls, door, header, download)
                except OtherModelError as error:
                    log.warning("the snapshot of the door %s is of no use: %s", door, error)
                    refused.add(door)
                except (DonorError, CallError) as error:
                    reason = str(error)
                    log.warning("the door %s doesn't give its snapshot: %s", door, reason)
                else:
                    if epoch is not None:
                        return epoch
                    refused.add(door)
                if download.received > most:
                    most = download.received
                    give_up_at = time.monotonic() + DOOR_PATIENCE_SECONDS
            if download is None or not reason:
                break
            self._say(download, problem=reason)
            await asyncio.sleep(WAIT_SECONDS)
        return None

    async def _shown(
        self, calls: DonorCalls, doors: Doors, own_epoch: int
    ) -> list[tuple[PeerID, Header]]:
        """The doors' snapshots that are newer than what the swarm and we have, the newest first."""

        async def look(door: PeerID) -> Header | None:
            try:
                async with asyncio.timeout(DOOR_SECONDS):
                    return await calls.header(door)
            except (DonorError, CallError, TimeoutError) as error:
                log.info("the door %s shows no snapshot: %s", door, error)
                return None

        headers = await asyncio.gather(*map(look, doors.peers))
        shown = [(door, each) for door, each in zip(doors.peers, headers, strict=True) if each]
        most = max(self.swarm.epoch, own_epoch)
        newer = [(door, each) for door, each in shown if each.epoch > most]
        for door, _header in (each for each in newer if not doors.vouched(each[1])):
            log.warning("the organiser hasn't signed the snapshot of the door %s", door)
        believed = [each for each in newer if doors.vouched(each[1])]
        return sorted(believed, key=lambda each: each[1].epoch, reverse=True)

    async def _from_door(
        self, calls: DonorCalls, door: PeerID, header: Header, download: Download
    ) -> int | None:
        """Load a snapshot; its epoch, or None where it isn't kept."""
        log.info("downloading the snapshot of epoch %d from the door %s", header.epoch, door)
        await calls.fetch(door, download, lambda: self._say(download))
        if hashlib.sha256(download.content).hexdigest() != header.digest:
            log.warning("the door %s doesn't send the snapshot that it shows", door)
            return None
        download.epoch = header.epoch  # what is vouched for, whatever came with the bytes
        offer = self._offered(download)
        fits = fits_its_epoch(offer, parameters=self.state.layout.parameters)
        if not fits or judge(self.state, [offer], epoch=offer.epoch).best is None:
            log.warning("the snapshot of the door %s is refused", door)
            return None
        self.snapshot_epoch = offer.epoch
        log.info("took the snapshot of epoch %d from the door %s", offer.epoch, door)
        return offer.epoch

    # --- downloading

    async def _offer(
        self, calls: DonorCalls, download: Download, *, besides: Sequence[StateOffer]
    ) -> tuple[StateOffer | None, str]:
        """A donor's state, or why there is none."""
        reason = _("nobody offers the swarm's state")
        had = _givers(besides)
        turns = DonorTurns(await self.swarm.donors())
        for peer, slowest in turns:
            if peer in had or (refusal := self._refusal_of(peer)):
                reason = reason if peer in had else refusal
                continue
            log.info("downloading the swarm's state from %s", peer)
            try:
                return await self._fetch(calls, peer, download, slowest=slowest), ""
            except (DonorError, CallError) as error:
                reason = str(error)
                log.warning("%s doesn't give its state: %s", peer, reason)
                if isinstance(error, OtherModelError):
                    self._refuse([peer], reason)
                turns.note_failure(peer, error)
        return None, reason

    def _refusal_of(self, peer: PeerID) -> str:
        until, reason = self._refused.get(peer, (0.0, ""))
        return reason if until > time.monotonic() else ""

    async def _fetch(
        self, calls: DonorCalls, peer: PeerID, download: Download, *, slowest: float
    ) -> StateOffer:
        try:
            await calls.fetch(peer, download, lambda: self._say(download), slowest=slowest)
        except CallError as error:
            layout = self.state.layout
            if not is_unknown_call(error) or layout.exact:  # no plain peer takes part in such runs
                raise
            epoch, tensors = await fetch_plain(calls, peer, layout, slowest=slowest)
            content = layout.pack(tensors)  # others are asked about it as about any
            return StateOffer(
                givers={peer}, epoch=epoch, tensors=layout.unpack(content), content=content
            )
        return self._offered(download)

    def _offered(self, download: Download) -> StateOffer:
        assert isinstance(download.content, bytearray)
        return StateOffer(
            givers=download.givers,
            epoch=download.epoch,
            tensors=self.state.layout.unpack(download.content),
            content=download.content,
        )

    def _say(self, download: Download, *, problem: str = "") -> None:
        now = time.monotonic()
        if not problem and not download.is_complete and now - self._reported_at < REPORT_SECONDS:
            return
        self._reported_at = now
        left = download.layout.size - download.received
        self.report(
            StateDownload(
                received=download.received,
                size=download.layout.size,
                seconds_left=left / download.rate if download.rate else None,
                problem=problem,
            )
        )

    # --- believing

    async def _is_disputed(self, calls: DonorCalls, offer: StateOffer) -> bool:
        """Whether as many other donors hold another state as there are that hold this one, its
        giver included."""
        others = [
            peer
            for peer in await self.swarm.donors()
            if peer not in offer.givers and not self._refusal_of(peer)
        ]
        agree, differ = await opinions(
            calls,
            others,
            layout=self.state.layout,
            content=offer.content,
            epoch=offer.epoch,
            step_size=self.state.step_size,
        )
        return differ > agree

    def _settled(self, offers: list[StateOffer]) -> StateOffer | None:
        """Keep the best of the offers, if it is no worse than what we have."""
        trial = judge(self.state, offers, epoch=self.swarm.epoch)
        worse = _("its state has a loss above {most}, and ours one of {own}")
        text = worse.format(most=f"{trial.most:.2f}", own=f"{trial.own:.2f}")
        self._refuse(_givers(trial.bad), text)
        if trial.best is not None:
            others = [each for each in offers if each not in (trial.best, *trial.bad)]
            self._refuse(_givers(others), _("another peer has a better state"))
        return trial.best

    def _refuse(self, peers: Iterable[PeerID], reason: str) -> None:
        for peer in peers:
            self._refused[peer] = time.monotonic() + REFUSED_SECONDS, reason
            log.warning("the state of the peer %s is refused: %s", peer, reason)


def _givers(offers: Iterable[StateOffer]) -> set[PeerID]:
    return {peer for offer in offers for peer in offer.givers}
