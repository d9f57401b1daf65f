"""What our averagers answer to strangers in a closed swarm, and to members."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hivemind.averaging.averager import DecentralizedAverager
from hivemind.averaging.group_info import GroupInfo
from hivemind.averaging.partition import AllreduceException
from hivemind.p2p import PeerID
from hivemind.proto import averaging_pb2

from app.organiser.admission import OPEN, Admission
from app.p2p.states.wire import Header, StateRefusal
from app.trainer.averaging.averagers import CountingStateAverager, KeepingGradientAverager
from app.trainer.averaging.guard import StateBounds
from app.trainer.averaging.guarded_averager import RoundGuard
from app.trainer.averaging.members_only import MembersOnly, MembersOnlyDonor
from app.trainer.averaging.offences import Offences
from app.trainer.joining.donor import StateDonor
from tests.support.organiser.organisers import FIRST, SECOND, admission_by, organiser, sealed

KEY = organiser()
MEMBER, STRANGER = PeerID.from_base58(FIRST), PeerID.from_base58(SECOND)
CALLS = {"rpc_join_group": 1, "rpc_aggregate_part": 1, "rpc_download_state": 0}
"""hivemind's calls, with the number of answers that a stranger gets."""


@pytest.fixture
def closed(tmp_path: Path) -> Admission:
    admission = admission_by(KEY, tmp_path / "roster")
    admission.keep(sealed(KEY, FIRST))
    return admission


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of hivemind's own calls were reached."""
    reached: list[str] = []
    for name in CALLS:

        async def call(self: Any, *_: Any, name: str = name) -> AsyncIterator[str]:
            reached.append(name)
            yield "answer"

        monkeypatch.setattr(DecentralizedAverager, name, call)

    async def run(self: Any, *_: Any, **_options: Any) -> None:
        reached.append("round")

    monkeypatch.setattr(DecentralizedAverager, "_run_allreduce_inplace_", run)
    return reached


def averager(admission: Admission) -> Any:
    made = MembersOnly.__new__(MembersOnly)
    made._admission = admission
    made._parent_pid = 0  # nobody forked it, so nobody ends it
    return made


async def answers(of: Any, call: str, peer: PeerID) -> list[Any]:
    return [each async for each in getattr(of, call)(None, SimpleNamespace(remote_id=peer))]


@pytest.mark.parametrize("call", CALLS)
async def test_strangers_get_nothing(closed: Admission, call: str, library: list[str]) -> None:
    found = await answers(averager(closed), call, STRANGER)
    assert [each.code for each in found] == [averaging_pb2.BAD_GROUP_ID] * CALLS[call]
    assert library == []


@pytest.mark.parametrize("call", CALLS)
async def test_members_are_served(closed: Admission, call: str) -> None:
    assert await answers(averager(closed), call, MEMBER) == ["answer"]


@pytest.mark.parametrize("call", CALLS)
async def test_in_an_open_swarm_everybody_is_served(call: str) -> None:
    assert await answers(averager(OPEN), call, STRANGER) == ["answer"]


async def test_no_round_with_a_stranger_whom_a_plain_leader_let_in(
    closed: Admission, library: list[str]
) -> None:
    of = averager(closed)
    await of._run_allreduce_inplace_([], GroupInfo(b"id", (MEMBER,), (b"",)))
    assert library == ["round"]
    with pytest.raises(AllreduceException, match="roster"):
        await of._run_allreduce_inplace_([], GroupInfo(b"id", (MEMBER, STRANGER), (b"", b"")))
    assert library == ["round"]


@pytest.mark.parametrize("kind", [CountingStateAverager, KeepingGradientAverager])
def test_both_averagers_ask_before_they_judge(kind: type) -> None:
    bases = [base.__name__ for base in kind.__mro__]
    assert bases.index("MembersOnly") < bases.index("GuardedAveraging")


def test_nobody_downloads_copies_of_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = {}

    def start(self: Any, *_: Any, **options: Any) -> None:
        said.update(options)
        self._parent_pid = 0

    monkeypatch.setattr(DecentralizedAverager, "__init__", start)
    dht: Any = SimpleNamespace(client_mode=False)
    guard = RoundGuard(bounds=StateBounds(), offences=Offences())
    KeepingGradientAverager((), dht=dht, prefix="run", guard=guard, admission=OPEN)
    assert said["allow_state_sharing"] is False


async def test_a_stranger_gets_no_snapshot(
    closed: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(self: Any, *_: Any) -> AsyncIterator[str]:
        yield "answer"

    monkeypatch.setattr(StateDonor, "rpc_send_state", send)
    donor = MembersOnlyDonor.__new__(MembersOnlyDonor)
    donor._admission, donor._parent_pid = closed, 0
    (refusal,) = await answers(donor, "rpc_send_state", STRANGER)
    assert Header.parse(refusal.metadata).refusal == StateRefusal.STRANGER
    assert await answers(donor, "rpc_send_state", MEMBER) == ["answer"]
