"""What our averagers do before a round of theirs begins."""

import asyncio
from typing import Any, AsyncIterator  # noqa: UP035  as hivemind's

from hivemind.p2p import P2PContext, PeerID
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    BAD_GROUP_ID,
    PART_FOR_AVERAGING,
    AveragingData,
)
from hivemind.utils.asyncio import as_aiter

from app.trainer.averaging.guarded_averager import GuardedAveraging

GROUP = b"group"
CALLER = PeerID(b"\x12\x20" + bytes(32))
CONTEXT = P2PContext(handle_name="rpc_aggregate_part", local_id=CALLER, remote_id=CALLER)


class Runner:
    """A round that has begun; answers each message with itself."""

    async def rpc_aggregate_part(
        self, stream: AsyncIterator[AveragingData], _context: P2PContext
    ) -> AsyncIterator[AveragingData]:
        async for message in stream:
            yield message


def averager(**groups: Any) -> GuardedAveraging:
    """One whose process doesn't run. groups: those in which it takes part."""
    made = GuardedAveraging.__new__(GuardedAveraging)
    made._parent_pid = 0  # there is nothing to end
    made._running_groups = {name.encode(): future for name, future in groups.items()}
    made._pending_groups_registered = asyncio.Event()
    made._pending_groups_registered.set()
    return made


def parts(count: int) -> list[AveragingData]:
    return [
        AveragingData(code=PART_FOR_AVERAGING, group_id=GROUP, weight=number)
        for number in range(count)
    ]


async def answers(of: GuardedAveraging) -> list[AveragingData]:
    return [each async for each in of.rpc_aggregate_part(as_aiter(*parts(2)), CONTEXT)]


async def test_member_that_hangs_up_before_the_round_begins_cancels_it_for_nobody() -> None:
    begun: asyncio.Future[Any] = asyncio.Future()
    ours = averager(group=begun)
    gone, waiting = (asyncio.create_task(answers(ours)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    assert not waiting.done()
    begun.set_result(Runner())  # as `_run_allreduce_inplace_` does
    assert await waiting == parts(2)


async def test_who_calls_for_another_group_is_told_so() -> None:
    assert await answers(averager()) == [AveragingData(code=BAD_GROUP_ID)]
