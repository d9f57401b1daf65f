"""A member of the exchange, in its own event loop: its answers to others, and its own rounds."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from hivemind.p2p import P2P
from hivemind.p2p.p2p_daemon_bindings.datastructures import StreamInfo

from app.common.errors import CoTrainError
from app.common.i18n import _
from app.p2p.sightings import PartFault
from app.trainer.exchange.calling import FETCH, OFFER, MemberCalls, handler_name
from app.trainer.exchange.election import CutOffError
from app.trainer.exchange.faults import Faults
from app.trainer.exchange.fetching import STREAMS_A_SOURCE, FetchError, Fetching, serve_pieces
from app.trainer.exchange.follower import RefusedOfferError, follow
from app.trainer.exchange.holding import Holding
from app.trainer.exchange.missed import MissedLists, NoRoundError, give_list
from app.trainer.exchange.offers import OfferError, OwnKey, check_list, check_offer
from app.trainer.exchange.rounds import EpochRound, RoundTable
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.streams import LostError, NonsenseError, Stream
from app.trainer.exchange.wire import (
    MOST_MEMBERS,
    AskLeader,
    AskList,
    AskNews,
    Deciding,
    Having,
    LeaderIs,
    Refused,
    SignedOffer,
)

log = logging.getLogger(__name__)

STREAMS_A_PEER = 2 + STREAMS_A_SOURCE
"""That a peer may have open for one kind of call."""

MOST_STREAMS = MOST_MEMBERS * STREAMS_A_PEER
"""Peers that we don't expect have half of them."""

LINGER_SECONDS = 10.0
"""How long a member that leaves serves those who fetch the blobs of its last round."""


class ExchangeError(CoTrainError):
    """The round failed; nothing of it may be used. The text says why, to the user."""


class GoneRoundError(ExchangeError):
    """The others have not had the round, or don't have it any more."""


class MemberAnswers:
    """Answers the calls of other members."""

    def __init__(
        self,
        p2p: P2P,
        *,
        rounds: RoundTable,
        calls: MemberCalls,
        rules: ExchangeRules,
        faults: Faults,
    ) -> None:
        self._p2p = p2p
        self._rounds = rounds
        self._calls = calls
        self._rules = rules
        self._faults = faults
        self._streams: Counter[tuple[str, str]] = Counter()
        self._waiting = 0  # streams on which a list is asked for
        self._answers: dict[str, Callable[[Stream], Awaitable[None]]] = {
            handler_name(rules.run_id, OFFER): self._answer_offer,
            handler_name(rules.run_id, FETCH): self._answer_fetch,
        }

    async def open(self) -> None:
        """Let others call us."""
        for name, answer in self._answers.items():
            await self._p2p.add_binary_stream_handler(name, partial(self._handle, answer))

    async def linger(self) -> None:
        """Wait until nobody has called for a moment, `LINGER_SECONDS` at most."""
        last = self._rounds.of(self._rounds.newest)
        if last is None or not last.holding.done():
            return
        until = time.monotonic() + LINGER_SECONDS
        idle_at = time.monotonic()
        while time.monotonic() < until and time.monotonic() - idle_at < self._rules.waits.word / 5:
            if self._streams.total() > self._waiting:  # those wait for a round that is not ours
                idle_at = time.monotonic()
            await asyncio.sleep(self._rules.waits.word / 50)

    async def close(self) -> None:
        """Nobody can call us any more."""
        for name in self._answers:
            await self._p2p.remove_binary_stream_handler(name)

    async def _handle(
        self,
        answer: Callable[[Stream], Awaitable[None]],
        info: StreamInfo,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        caller = info.peer_id.to_base58()
        place = (caller, info.proto)
        silence = self._rules.waits.silence
        stream = Stream(reader, writer, peer_id=caller, line=self._calls.line, silence=silence)
        most = MOST_STREAMS if self._rounds.expects(caller) else MOST_STREAMS // 2
        is_full = self._streams.total() >= most or self._streams[place] >= STREAMS_A_PEER
        is_out = self._faults.is_evicted(caller) or not self._rules.admission.may_join(caller)
        if is_full or is_out:
            stream.close()
            return
        self._streams[place] += 1
        try:
            await answer(stream)
        except LostError as error:
            log.debug("a member's call: %s", error)
        except NonsenseError as error:
            log.info("a member's call: %s", error)
            self._faults.name(self._rounds.newest, caller, PartFault.SHAPE)
        except asyncio.CancelledError:
            # the round was closed, or the exchange; asyncio 3.11 logs a traceback for a handler
            # that ends as cancelled
            log.debug("a call of %s was cut off", caller)
        finally:
            self._streams[place] -= 1
            self._streams += Counter()  # forgets zeros
            stream.close()

    async def _answer_offer(self, stream: Stream) -> None:
        """A member asks who leads, and may make its offer to us."""
        asked = await stream.receive(AskLeader)
        this = self._rounds.asked_for(asked.epoch)
        if this is None or not self._rounds.may_wait(this, stream.peer_id, asked):
            await stream.send(Refused(reason="that round isn't now").pack())
            return
        if this.deciding is None:
            self._rounds.decide(this, asked.skipped)
        leader = await self._decided(this, stream)
        if leader is None:
            await stream.send(Refused(reason="nobody leads").pack())
            return
        await stream.send(LeaderIs(leader=leader).pack())
        if this.led is not None:
            offer = await stream.receive(SignedOffer, most=self._rules.most_offer_bytes)
            await this.led.serve(stream, offer)

    async def _decided(self, this: EpochRound, stream: Stream) -> str | None:
        assert this.deciding is not None
        while True:
            done, _pending = await asyncio.wait({this.deciding}, timeout=self._rules.waits.word)
            if done:
                break
            await stream.send(Deciding().pack())
        try:
            return await this.deciding
        except CutOffError:
            return None

    async def _answer_fetch(self, stream: Stream) -> None:
        """A member wants what we have of a list's blobs, or another peer the list."""
        while True:
            asked = await stream.receive(AskNews | AskList, seconds=self._rules.round_seconds)
            if isinstance(asked, AskList):
                self._waiting += 1
                try:
                    await give_list(stream, asked.epoch, rounds=self._rounds, rules=self._rules)
                finally:
                    self._waiting -= 1
                return
            this = self._rounds.of(asked.epoch)
            if this is None:
                await stream.send(Refused(reason="that round isn't now").pack())
                return
            done, _pending = await asyncio.wait({this.holding}, timeout=self._rules.waits.word)
            if done:
                break
            await stream.send(Having(bits=b"", follows=False).pack())
        holding = await this.holding
        if holding.digest != asked.digest:
            await stream.send(Refused(reason="another list").pack())
            return
        await serve_pieces(stream, holding, self._rules, asked.known)


class ExchangeMember:
    """Our peer's own rounds."""

    def __init__(
        self, p2p: P2P, *, key: OwnKey, client_mode: bool, rules: ExchangeRules, faults: Faults
    ) -> None:
        """client_mode: nobody can call us."""
        self._key = key
        self._client_mode = client_mode
        self._rules = rules
        self._faults = faults
        self._calls = MemberCalls(p2p, rules=rules, faults=faults)
        if key.peer_id != self._calls.own_id:
            raise ValueError(f"the key of {key.peer_id}, but the daemon of {self._calls.own_id}")
        self._missed = MissedLists(self._calls, rules=rules, faults=faults)
        self._rounds = RoundTable(self._calls, client_mode=client_mode, rules=rules, faults=faults)
        self._answers = MemberAnswers(
            p2p, rounds=self._rounds, calls=self._calls, rules=rules, faults=faults
        )
        self.line = self._calls.line
        self.fetches = 0
        """Lists whose blobs are on their way to us."""

    async def open(self) -> None:
        """Let others call us, unless nobody can."""
        if not self._client_mode:
            await self._answers.open()

    async def close(self) -> None:
        """Leave all rounds, once others have got what we have of the last one."""
        if not self._client_mode:
            await self._answers.linger()
        self._rounds.close()
        if not self._client_mode:
            await self._answers.close()

    async def swap(
        self, *, epoch: int, blob: bytes, weight: float, expected: Collection[str]
    ) -> list[tuple[str, float, bytes]]:
        """Take part in the round of an epoch: peer id, weight and blob of each whose blob counts.
        Raises `ExchangeError`."""
        if epoch <= self._rounds.newest:
            raise ExchangeError(_("this machine has taken part in the round already"))
        others = frozenset(expected) - {self._calls.own_id}
        this = self._rounds.enter(epoch, others)
        if not others and self._client_mode:
            return [(self._calls.own_id, weight, blob)]
        try:
            async with asyncio.timeout(self._rules.round_seconds):
                holding = await self._part(this, blob, weight, others)
        except TimeoutError:
            raise ExchangeError(_("the round took too long")) from None
        finally:
            this.has_failed = this.led is None and not this.holding.done()
        if not holding.offers:  # we led, and came when it was over
            raise ExchangeError(_("no blob of the round reached its leader"))
        return _brought(holding)

    async def fetch(
        self, *, epoch: int, members: Collection[str], seconds: float | None
    ) -> list[tuple[str, float, bytes]]:
        """What a round brought in which we took no part, as `swap` has it; see `Exchange.fetch`.
        Raises `ExchangeError`."""
        others = {
            each
            for each in members
            if self._rules.admission.may_join(each) and not self._faults.is_evicted(each)
        } - {self._calls.own_id}
        try:
            patience = self._rules.round_seconds if seconds is None else seconds
            holding = await self._missed.fetch(epoch, others, seconds=patience)
        except NoRoundError as error:
            raise GoneRoundError(_("nobody has the round")) from error
        except LostError as error:
            raise ExchangeError(_("nobody told us of the round")) from error
        holding = self._begun(epoch, holding)
        try:
            async with asyncio.timeout(self._rules.round_seconds):
                await self._fetch(epoch, others, holding)
        except TimeoutError:
            raise ExchangeError(_("the round took too long")) from None
        if await self._unreadable(holding):
            raise ExchangeError(_("the leader of the round broke its rules"))
        return _brought(holding)

    def _begun(self, epoch: int, listed: Holding) -> Holding:
        """A round of which we know the list: what we have of it, if our own part in it failed."""
        this = self._rounds.of(epoch)
        if this is None or not this.holding.done() or this.holding.cancelled():
            return listed
        ours = this.holding.result()
        return ours if ours.digest == listed.digest else listed

    async def _part(
        self, this: EpochRound, blob: bytes, weight: float, others: frozenset[str]
    ) -> Holding:
        epoch = this.epoch
        offer = self._key.offer(
            blob,
            run_id=self._rules.run_id,
            epoch=epoch,
            weight=weight,
            serves=not self._client_mode,
        )
        check_offer(offer, self._rules, epoch=epoch)
        leader = await self._leader(this)
        if this.led is not None:
            this.led.enter(offer, blob, others)
            return await asyncio.shield(this.holding)
        packed = await self._followed(leader, offer, blob)
        holding = self._believed(leader, packed, offer, blob)
        self._check_that_most_are_listed(leader, holding, others, epoch=epoch)
        this.holding.set_result(holding)
        await self._fetch(epoch, {leader}, holding)
        if await self._unreadable(holding):  # the leader has looked, and should not have listed it
            self._faults.name(epoch, leader, PartFault.GROUP)
            raise ExchangeError(_("the leader of the round broke its rules"))
        return holding

    async def _leader(self, this: EpochRound) -> str:
        if this.deciding is None or (this.deciding.done() and this.deciding.exception()):
            self._rounds.decide(this)
        assert this.deciding is not None
        try:
            leader = await asyncio.shield(this.deciding)
        except CutOffError:
            leader = None
        if leader is None:
            raise ExchangeError(_("the leader of the round can't be reached"))
        return leader

    async def _followed(self, leader: str, offer: SignedOffer, blob: bytes) -> bytes:
        """The leader's list, packed."""
        try:
            return await follow(lambda: self._calls.opened(leader, OFFER), offer, blob, self._rules)
        except LostError as error:
            self._faults.name(offer.epoch, leader, PartFault.SILENT)
            raise ExchangeError(_("the leader of the round is gone")) from error
        except NonsenseError as error:
            self._faults.name(offer.epoch, leader, PartFault.GROUP)
            raise ExchangeError(_("the leader of the round broke its rules")) from error
        except RefusedOfferError as error:
            said = _("the leader of the round refused us: {reason}").format(reason=error)
            raise ExchangeError(said) from error

    def _believed(self, leader: str, packed: bytes, offer: SignedOffer, blob: bytes) -> Holding:
        own_id = self._calls.own_id
        try:
            offers = check_list(packed, self._rules, epoch=offer.epoch, own=(own_id, offer))
        except OfferError as error:
            log.warning("the leader %s of epoch %d: %s", leader, offer.epoch, error)
            self._faults.name(offer.epoch, leader, error.fault)
            raise ExchangeError(_("the leader of the round broke its rules")) from error
        if not offers:
            raise ExchangeError(_("no blob of the round reached its leader"))
        return Holding(offers, packed=packed, blobs={own_id: blob})

    def _check_that_most_are_listed(
        self, leader: str, holding: Holding, others: frozenset[str], *, epoch: int
    ) -> None:
        """A leader can leave out whom it wants, and so make its own blob the mean. That it left us
        out we believe only where it listed at least half of those we know of. Others who are left
        out with us say so too: then nobody tells the list to anybody."""
        if self._calls.own_id in holding.offers or 2 * len(others & holding.offers.keys()) >= len(
            others
        ):
            return
        log.warning("the leader %s of epoch %d has left out us and most others", leader, epoch)
        self._faults.name(epoch, leader, PartFault.GROUP)
        raise ExchangeError(_("the leader of the round left out most of its members"))

    async def _fetch(self, epoch: int, members: Collection[str], holding: Holding) -> None:
        """All blobs of a list, from its members that can be called, and these."""
        sources = {*members, *(each for each, offer in holding if offer.serves)}
        fetching = Fetching(
            holding,
            opened=lambda source: self._calls.opened(source, FETCH),
            accuse=partial(self._faults.name, epoch),
            epoch=epoch,
            rules=self._rules,
        )
        self.fetches += 1
        try:
            await fetching.run(sources - {self._calls.own_id})
        except FetchError as error:
            raise ExchangeError(_("a blob of the round can't be had any more")) from error
        finally:
            self.fetches -= 1

    async def _unreadable(self, holding: Holding) -> bool:
        """Whether a blob of others can't be read."""
        for peer_id, blob in holding.blobs.items():
            if peer_id == self._calls.own_id:
                continue
            try:
                await asyncio.to_thread(self._rules.check, blob)
            except ValueError:
                return True
        return False


def _brought(holding: Holding) -> list[tuple[str, float, bytes]]:
    return [(each, offer.weight, holding.blobs[each]) for each, offer in holding]
