"""Our side of a round that another peer leads: offers our blob, and waits for the list."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from app.common.errors import CoTrainError
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.streams import LostError, NonsenseError, Stream
from app.trainer.exchange.wire import (
    PIECE_BYTES,
    AskLeader,
    AskList,
    AwaitList,
    Deciding,
    LeaderIs,
    Refused,
    RoundList,
    SendFrom,
    SignedOffer,
    parse,
)


class RefusedOfferError(CoTrainError):
    """The leader doesn't take our offer, or a member has no list for us."""


async def asked_leader(stream: Stream, asked: AskLeader, rules: ExchangeRules) -> str | None:
    """Whom a peer takes for the leader, in base58; None when it leads nothing.

    Raises `LostError`, `NonsenseError`.
    """
    waits = rules.waits
    await stream.send(asked.pack())
    # it may have to call those before it, some of whom we don't know
    until = time.monotonic() + waits.answer * (2 + len(asked.skipped)) + waits.silence
    while time.monotonic() < until:
        answer = await stream.receive(Deciding | LeaderIs | Refused, seconds=waits.silence)
        if isinstance(answer, LeaderIs):
            return answer.leader
        if isinstance(answer, Refused):
            return None
    raise LostError(f"{stream.peer_id} can't say who leads")


async def follow(
    opened: Callable[[], AbstractAsyncContextManager[Stream]],
    offer: SignedOffer,
    blob: bytes,
    rules: ExchangeRules,
) -> bytes:
    """Offer a blob, and wait for the list, which is returned packed and unchecked.

    opened: makes a stream to the leader; a broken one is opened again, and the blob goes on where
    it was. Raises `LostError`, `NonsenseError`, `RefusedOfferError`.
    """
    silence = rules.waits.silence
    heard_at = time.monotonic()

    def heard() -> None:
        nonlocal heard_at
        heard_at = time.monotonic()

    while True:
        try:
            async with opened() as stream:
                return await _offer(stream, offer, blob, rules, heard)
        except LostError:
            if time.monotonic() - heard_at > silence:
                raise
        await asyncio.sleep(silence / 20)


async def _offer(
    stream: Stream,
    offer: SignedOffer,
    blob: bytes,
    rules: ExchangeRules,
    heard: Callable[[], None],
) -> bytes:
    leader = await asked_leader(stream, AskLeader(epoch=offer.epoch, skipped=()), rules)
    if leader != stream.peer_id:
        raise RefusedOfferError("it doesn't lead the round any more")
    await stream.send(offer.pack())
    answer = await stream.receive(SendFrom | Refused)
    if isinstance(answer, Refused):
        raise RefusedOfferError(answer.reason)
    heard()
    sending = asyncio.create_task(
        _send_blob(stream, memoryview(blob)[answer.start * PIECE_BYTES :])
    )
    try:
        return await _list(stream, rules, heard)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send_blob(stream: Stream, rest: memoryview) -> None:
    with suppress(LostError):  # who waits for the list notices it as well
        await stream.send_blob(rest)


async def _list(stream: Stream, rules: ExchangeRules, heard: Callable[[], None]) -> bytes:
    while not isinstance(answer := await _news(stream, rules, AwaitList | RoundList), bytes):
        heard()
    return answer


async def asked_list(stream: Stream, epoch: int, rules: ExchangeRules) -> bytes:
    """The list of a round in which we take no part, packed and unchecked, once it is fixed.

    Raises `LostError`, `NonsenseError`, `RefusedOfferError`: the round is too long ago, or failed.
    """
    await stream.send(AskList(epoch=epoch).pack())
    while not isinstance(
        answer := await _news(stream, rules, AwaitList | RoundList | Refused), bytes
    ):
        if isinstance(answer, Refused):
            raise RefusedOfferError(answer.reason)
    return answer


async def _news(stream: Stream, rules: ExchangeRules, kind: Any) -> bytes | AwaitList | Refused:
    """The next message, one of the types of ``kind``; a list as it came."""
    packed = await stream.receive_packed(seconds=None, most=rules.most_list_bytes)
    try:
        answer: AwaitList | RoundList | Refused = parse(packed, kind)
    except ValueError as error:
        raise NonsenseError(f"{stream.peer_id}: {error}") from error
    return packed if isinstance(answer, RoundList) else answer
