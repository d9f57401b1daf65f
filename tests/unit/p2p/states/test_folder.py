"""A door's snapshots on the disk."""

import errno
from pathlib import Path

import pytest

from app.p2p.states import folder as module
from app.p2p.states.folder import KeptSnapshotFile, SnapshotFolder
from app.p2p.states.wire import Header

CONTENT = bytes(range(256)) * 20


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


def keep(folder: SnapshotFolder, epoch: int, content: bytes = CONTENT) -> KeptSnapshotFile:
    with folder.receiving(len(content)) as new:
        new.content[:] = content
        digest = new.digest()
        return new.keep(Header(epoch=epoch, size=len(content), layout="ours", digest=digest))


def test_what_was_kept_is_read_back_in_ranges(place: Path) -> None:
    made = keep(SnapshotFolder(place), 7)
    found = SnapshotFolder(place).newest()
    assert found == made
    assert (found.header.epoch, found.read(10, 300)) == (7, CONTENT[10:300])


def test_the_last_two_are_kept(place: Path) -> None:
    folder = SnapshotFolder(place)
    for epoch in (3, 20, 100):
        keep(folder, epoch)
    names = sorted(path.name for path in place.iterdir())
    assert names == ["epoch-000000020.state", "epoch-000000100.state"]


@pytest.mark.parametrize("damage", ["changed", "short", "long", "empty", "header"])
def test_a_damaged_one_gives_way_to_the_one_before(place: Path, damage: str) -> None:
    folder = SnapshotFolder(place)
    keep(folder, 1)
    path = keep(folder, 2).path
    raw = path.read_bytes()
    spoilt = {
        "changed": raw[:-1] + bytes([raw[-1] ^ 1]),
        "short": raw[:-1],
        "long": raw + b"\0",
        "empty": b"",
        "header": b"[" * len(raw),
    }
    path.write_bytes(spoilt[damage])
    found = folder.newest()
    assert found is not None
    assert found.header.epoch == 1
    assert not path.exists()


def test_a_full_disk_leaves_nothing_behind(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SnapshotFolder(place)
    keep(folder, 1)
    monkeypatch.setattr(module, "LEAST_FREE", 2**62)
    with pytest.raises(OSError) as caught, folder.receiving(8):
        pass
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in place.iterdir()] == ["epoch-000000001.state"]


def test_what_broke_off_is_not_kept(place: Path) -> None:
    folder = SnapshotFolder(place)
    with pytest.raises(ConnectionError), folder.receiving(8):
        raise ConnectionError
    assert (folder.newest(), list(place.iterdir())) == (None, [])
