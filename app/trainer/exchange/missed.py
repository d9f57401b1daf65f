"""The list of a round in which we took no part, from those who did.

A newcomer needs the rounds that end while it downloads the weights, and who was cut off for a while
the one that it missed. Its members have signed their offers, so a list can't bring what nobody
learnt; it can only leave somebody out. Therefore several members are asked.
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
from app.trainer.exchange.follower import RefusedOfferError, asked_list
from app.trainer.exchange.holding import Holding
from app.trainer.exchange.offers import OfferError, check_list
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.streams import LostError, NonsenseError

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
        # of two that as many give, the longer one: a liar can only leave somebody out
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
        until = time.monotonic() + seconds
        try:
            while waiting and (rest := until - time.monotonic()) > 0:
                done, waiting = await asyncio.wait(
                    waiting, timeout=rest, return_when=asyncio.FIRST_COMPLETED
                )
                given.update(packed for each in done if (packed := each.result()) is not None)
                if 2 * max(given.values(), default=0) > len(asked):
                    break
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
