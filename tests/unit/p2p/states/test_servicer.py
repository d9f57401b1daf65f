"""What a door sends to who wants its snapshot."""

from pathlib import Path
from typing import Any

import pytest
from hivemind.p2p import P2PContext, PeerID

from app.organiser.admission import OPEN, Admission
from app.p2p.states.folder import SnapshotFolder
from app.p2p.states.places import MOST_DOWNLOADS
from app.p2p.states.servicer import SnapshotServicer
from app.p2p.states.wire import CHUNK_BYTES, Header, StateRefusal, Wanted
from tests.support.organiser.organisers import FIRST, SECOND, admission_by, organiser, sealed

CONTENT = bytes(range(250)) * 3000
ALL = ((0, 2**60),)


def servicer(folder: Path, admission: Admission = OPEN) -> SnapshotServicer:
    made = SnapshotServicer(admission)
    with SnapshotFolder(folder).receiving(len(CONTENT)) as new:
        new.content[:] = CONTENT
        header = Header(epoch=9, size=len(CONTENT), layout="ours", digest=new.digest())
        made.snapshot = new.keep(header)
    return made


def ask(door: SnapshotServicer, wanted: Any, peer: str | bytes = FIRST) -> Any:
    asker = PeerID.from_base58(peer) if isinstance(peer, str) else PeerID(peer)
    context = P2PContext(handle_name="", local_id=asker, remote_id=asker)
    return door.rpc_send_state(wanted.pack() if isinstance(wanted, Wanted) else wanted, context)


async def answer(replies: Any) -> tuple[Header, bytes]:
    header, *parts = [each.metadata async for each in replies]
    assert all(len(each) <= CHUNK_BYTES for each in parts)
    return Header.parse(header), b"".join(parts)


async def test_ranges_of_the_newest_one_are_sent(tmp_path: Path) -> None:
    door = servicer(tmp_path)
    header, sent = await answer(ask(door, Wanted(layout="ours", ranges=((4, 12), *ALL))))
    assert (header.epoch, sent) == (9, CONTENT[4:12] + CONTENT)
    assert (await answer(ask(door, Wanted(layout="", ranges=()))))[0] == header


async def test_strangers_of_a_closed_swarm_get_nothing(tmp_path: Path) -> None:
    key = organiser()
    admission = admission_by(key, tmp_path / "roster")
    admission.keep(sealed(key, FIRST))
    door = servicer(tmp_path / "door", admission)
    for wanted in (Wanted(layout="", ranges=ALL), Wanted(layout="", ranges=())):
        header, sent = await answer(ask(door, wanted, SECOND))
        assert (header.refusal, header.epoch, sent) == (StateRefusal.STRANGER, 0, b"")
        assert (await answer(ask(door, wanted)))[0].epoch == 9


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    door = servicer(tmp_path)
    garbage = type(Wanted(layout="", ranges=()).pack())(metadata=b"\xc1")
    header, _sent = await answer(ask(door, garbage))
    assert header.refusal == StateRefusal.MALFORMED
    header, _sent = await answer(ask(door, Wanted(layout="other", ranges=ALL)))
    assert header.refusal == StateRefusal.OTHER_MODEL
    header, _sent = await answer(ask(SnapshotServicer(OPEN), Wanted(layout="", ranges=ALL)))
    assert header.refusal == StateRefusal.UNWILLING


async def test_it_sends_to_so_many_at_once_and_shows_it_to_all(tmp_path: Path) -> None:
    door = servicer(tmp_path)
    peers = [b"\x12\x20" + bytes([n]) * 32 for n in range(MOST_DOWNLOADS + 1)]
    readings = [ask(door, Wanted(layout="", ranges=ALL), peer) for peer in peers[:-1]]
    for reading in readings:
        await anext(reading)
    header, _sent = await answer(ask(door, Wanted(layout="", ranges=ALL), peers[-1]))
    assert header.refusal == StateRefusal.BUSY
    header, _sent = await answer(ask(door, Wanted(layout="", ranges=()), peers[-1]))
    assert header.epoch == 9
    for reading in readings:
        await reading.aclose()
    header, sent = await answer(ask(door, Wanted(layout="", ranges=ALL), peers[-1]))
    assert sent == CONTENT


async def test_a_file_that_is_gone_ends_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    door = servicer(tmp_path)
    assert door.snapshot is not None
    door.snapshot.path.unlink()
    _header, sent = await answer(ask(door, Wanted(layout="", ranges=ALL)))
    assert sent == b""
    assert "can't be read" in caplog.text
