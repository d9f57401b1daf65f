"""The list of a round for who took no part in it: how it is asked for, and given.

A newcomer needs the rounds that end while it downloads the weights, and who was cut off for a while
the one that it missed. Its members have signed their offers, so nobody can change one. But who
passes a list on can leave somebody out, or add an offer that came too late. Therefore several
members are asked; and the next round shows whether the weights are those of the others.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Collection

from app.common.errors import CoTrainError
from app.p2p.sightings import PartFault
from app.trainer.exchange.calling import FETCH, MemberCalls
from app.trainer.exchange.faults import Faults
from app.trainer.exchange.fetching import MOST_FETCHERS, MOST_TIMES
from app.trainer.exchange.follower import RefusedOfferError, asked_list
from app.trainer.exchange.holding import Holding
from app.trainer.exchange.offers import OfferError, check_list
from app.trainer.exchange.rounds import RoundTable
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.streams import LostError, NonsenseError, Stream
from app.trainer.exchange.wire import AwaitList, Refused

log = logging.getLogger(__name__)

ASKED = 5
"""Members that are asked for a list."""


class NoRoundError(CoTrainError):
    """Most of those asked say that a round has no list: it failed, or is too long ago."""


class MissedLists:
    """Asks for lists."""

    def __init__(self, calls: MemberCalls, *, rules: ExchangeRules, faults: Faults) -> None:
        self._calls = calls
        self._rules = rules
        self._faults = faults

    async def fetch(self, epoch: int, members: Collection[str], *, seconds: float) -> Holding:
        """The list that most of those asked give, with no blob yet.

        members: peer ids of who may have it. seconds: how long it may take until it is fixed.
        Raises `NoRoundError`, and `LostError` when nobody can be asked.
        """
        asked = random.sample(sorted(members), min(ASKED, len(members)))
        given = await self._given(epoch, asked, seconds)
        if 2 * given.pop(b"", 0) > len(asked):
            raise NoRoundError(f"most members have no list of epoch {epoch}")
        # of two that as many give, the longer one: it is harder to get offers than to leave one out
        ranked = sorted(given, key=lambda packed: (given[packed], len(packed), packed))
        for packed in reversed(ranked):
            try:
                offers = check_list(packed, self._rules, epoch=epoch)
            except OfferError as error:
                log.warning("a list of epoch %d that a member gave us: %s", epoch, error)
                continue
            if offers:
                return Holding(offers, packed=packed, blobs={})
        raise LostError(f"nobody gave us the list of epoch {epoch}")

    async def _given(self, epoch: int, asked: Collection[str], seconds: float) -> Counter[bytes]:
        """How many of those asked give each list, and b"" when they refuse. Waits until most agree:
        whoever is first to answer may be the only liar."""
        waiting = {asyncio.create_task(self._ask(each, epoch)) for each in asked}
        given: Counter[bytes] = Counter()
        silent = 0
        until = time.monotonic() + seconds
        try:
            while waiting and (rest := until - time.monotonic()) > 0:
                done, waiting = await asyncio.wait(
                    waiting, timeout=rest, return_when=asyncio.FIRST_COMPLETED
                )
                for packed in (each.result() for each in done):
                    if packed is None:
                        silent += 1
                    else:
                        given[packed] += 1
                most = max((given[each] for each in given if each), default=0)
                voters = len(asked) - silent - given[b""]
                if 2 * most > voters or 2 * given[b""] > len(asked):
                    break
                if 2 * most == voters:  # the other half may never have it
                    until = min(until, time.monotonic() + 2 * self._rules.waits.word)
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return given

    async def _ask(self, peer_id: str, epoch: int) -> bytes | None:
        try:
            async with self._calls.opened(peer_id, FETCH) as stream:
                return await asked_list(stream, epoch, self._rules)
        except NonsenseError:
            self._faults.name(epoch, peer_id, PartFault.SHAPE)
        except RefusedOfferError:
            return b""
        except LostError as error:
            log.info("%s can't be asked for the list of epoch %d: %s", peer_id, epoch, error)
        return None


async def give_list(
    stream: Stream, epoch: int, *, rounds: RoundTable, rules: ExchangeRules
) -> None:
    """Send the list of a round to a peer that takes no part in it, once it is fixed.

    Raises `LostError`.
    """
    holding = await _fixed(stream, epoch, rounds, rules)
    if holding is None:
        await stream.send(Refused(reason="no list of that round").pack())
        return
    if not _may_have(stream.peer_id, holding):
        raise LostError(f"{stream.peer_id} asks for a list again and again")
    holding.listed[stream.peer_id] += 1
    await stream.send(holding.packed)


def _may_have(peer_id: str, holding: Holding) -> bool:
    if peer_id in holding.offers or peer_id in holding.listed:
        return holding.listed[peer_id] < MOST_TIMES
    return len(holding.listed.keys() - holding.offers.keys()) < MOST_FETCHERS


async def _fixed(
    stream: Stream, epoch: int, rounds: RoundTable, rules: ExchangeRules
) -> Holding | None:
    """A round whose list is fixed; None if that won't be."""
    until = time.monotonic() + rules.round_seconds
    while (this := rounds.of(epoch)) is None or not this.holding.done():
        is_over = epoch <= rounds.newest if this is None else this.has_failed
        if is_over or time.monotonic() > until:
            return None
        if this is None:
            await asyncio.sleep(rules.waits.word)
        else:
            await asyncio.wait({this.holding}, timeout=rules.waits.word)
        await stream.send(AwaitList().pack())
    return await this.holding
