"""What a spec reads of this machine: our own paths, and the slots that a volunteer fills."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import DataError, InviteError, SpecError
from app.spec import filling, invite
from app.spec import schema as spec
from app.spec.schema import SwarmSpec
from app.spec.sources.data import FileData, FileTokenizer, SlotData, SlotTokenizer
from tests.support.training.specs import SMALLEST

TEXT = b"Some text for a slot."
OWN: dict[str, Any] = {
    "source": "files",
    "paths": ["~/a.txt", "/b.jsonl"],
    "format": "jsonl",
    "text_field": "body",
}


def with_data(**data: Any) -> SwarmSpec:
    return spec.parse({**SMALLEST, "dataset_info": data})


def with_slot(**slot: Any) -> SwarmSpec:
    return with_data(source="slot", label="corpus", **slot)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts" / "a.txt"
    path.parent.mkdir()
    path.write_bytes(TEXT)
    return path


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (OWN, "dataset_info.paths"),
        (
            {"source": "builtin", "tokenizer": {"kind": "file", "path": "/t.json"}},
            "dataset_info.tokenizer.path",
        ),
        (
            {
                "source": "slot",
                "label": "corpus",
                "tokenizer": {"kind": "file", "path": "~/.ssh/id_ed25519"},
            },
            "dataset_info.tokenizer.path",
        ),
    ],
)
def test_paths_from_elsewhere_are_refused(data: dict[str, Any], field: str) -> None:
    found = spec.parse({**SMALLEST, "dataset_info": data})
    raw = invite._as_json(found).encode()
    for read in (
        lambda: invite.read(raw, name="file"),
        lambda: invite.read_text(raw.decode()),
    ):
        with pytest.raises(InviteError) as caught:
            read()
        assert caught.value.field == field
        assert "slot" in caught.value.remedy
    assert invite.read_own(raw, name="file") == found


def test_old_invite_of_our_own_swarm_may_name_its_paths() -> None:
    own = with_data(**OWN)
    raw = invite._as_json(own).encode()
    assert invite.read(raw, name="file", own=(own,)) == own
    for other in (
        own.model_copy(update={"run_id": "another"}),
        with_data(**OWN | {"paths": ["~/a.txt"]}),
    ):
        with pytest.raises(InviteError):
            invite.read(raw, name="file", own=(other,))


def test_own_paths_leave_with_no_invite() -> None:
    tokenizer = {"kind": "file", "path": "/home/me/t.json"}
    own = with_data(**OWN, tokenizer=tokenizer)
    shared = invite.shared(own, ())
    assert filling.paths(shared) == {}
    assert [place.slot.label for place in filling.places(shared)] == ["data", "tokenizer"]
    assert isinstance(shared.data, SlotData)
    assert (shared.data.format, shared.data.text_field) == ("jsonl", "body")
    for raw in (invite.as_file(own), invite.read_link(invite.as_link(own)).model_dump_json()):
        text = raw.decode() if isinstance(raw, bytes) else raw
        assert not any(secret in text for secret in ("a.txt", "b.jsonl", "/home/me", "~"))
    assert invite.read(invite.as_file(own), name="file") == shared


def test_spec_without_paths_is_passed_on_as_it_is() -> None:
    assert filling.emptied(spec.parse(SMALLEST)) == spec.parse(SMALLEST)


def test_hash_of_our_tokenizer_is_passed_on(file: Path) -> None:
    own = with_data(source="builtin", tokenizer={"kind": "file", "path": str(file)})
    slot = filling.emptied(own).data.tokenizer
    assert isinstance(slot, SlotTokenizer)
    assert (slot.sha256, slot.bytes) == (hashlib.sha256(TEXT).hexdigest(), len(TEXT))
    for path in ("/dev/zero", "/nowhere", "/\0", "~nobody-here/t.json"):
        odd = with_data(source="builtin", tokenizer={"kind": "file", "path": path})
        slot = filling.emptied(odd).data.tokenizer
        assert isinstance(slot, SlotTokenizer)
        assert slot.sha256 is None


# --- filling -------------------------------------------------------------------------------------


def test_filled_slot_is_a_file(file: Path) -> None:
    filled = filling.filled(with_slot(format="text"), {"corpus": file})
    assert isinstance(filled.data, FileData)
    assert filled.data.paths == (str(file),)
    assert filled.data.format == "text"
    assert filled.run_id == "run"


def test_folder_is_all_its_files_in_order(file: Path) -> None:
    folder = file.parent
    for name in ("c/z.txt", "c/b.jsonl", ".git/config", ".secret", "b.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    os.mkfifo(folder / "pipe")
    filled = filling.filled(with_slot(), {"corpus": folder})
    assert isinstance(filled.data, FileData)
    names = [str(Path(path).relative_to(folder)) for path in filled.data.paths]
    assert names == ["a.txt", "b.txt", "c/b.jsonl", "c/z.txt"]


def test_tokenizer_is_filled_too(file: Path) -> None:
    found = with_data(source="builtin", tokenizer={"kind": "slot", "label": "words"})
    filled = filling.filled(found, {"words": file})
    assert filled.data.tokenizer == FileTokenizer(kind="file", path=str(file))
    with pytest.raises(DataError, match="is no file"):
        filling.filled(found, {"words": file.parent})


def test_a_file_that_is_being_hashed_is_not_hashed_beside_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, real = hashlib.sha256(TEXT).hexdigest(), hashlib.file_digest
    begun, go_on, hashed = threading.Event(), threading.Event(), []

    def slow(*arguments: Any) -> Any:
        hashed.append(1)
        begun.set()
        go_on.wait()
        return real(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", slow)
    slots, files = with_slot(sha256=digest, bytes=len(TEXT)), {"corpus": file}
    with ThreadPoolExecutor() as pool:
        readings = [pool.submit(filling.filled, slots, files)]
        begun.wait()
        readings.append(pool.submit(filling.filled, slots, files))
        go_on.set()
        assert all(each.result() for each in readings)
    assert len(hashed) == 1


def test_file_with_the_right_hash_and_size_fits(file: Path) -> None:
    digest = hashlib.sha256(TEXT).hexdigest()
    filling.filled(with_slot(sha256=digest, bytes=len(TEXT)), {"corpus": file})
    file.write_bytes(TEXT[::-1])
    os.utime(file, ns=(1, 1))
    with pytest.raises(DataError, match="is not the file that all peers have"):
        filling.filled(with_slot(sha256=digest, bytes=len(TEXT)), {"corpus": file})


@pytest.mark.parametrize(
    ("slot", "path", "told"),
    [
        ({}, "nothing.txt", "can't be read"),
        ({}, "/dev/zero", "it is no regular file"),
        ({}, "texts/empty", "holds no file"),
        ({"bytes": 7}, "texts/a.txt", "has 21 bytes instead of 7"),
        ({"sha256": "0" * 64}, "texts/a.txt", "is not the file that all peers have"),
        ({"sha256": "0" * 64}, "texts", "is no file"),
    ],
)
def test_what_does_not_fit_is_said(
    file: Path, tmp_path: Path, slot: dict[str, Any], path: str, told: str
) -> None:
    (file.parent / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        filling.filled(with_slot(**slot), {"corpus": tmp_path / path})
    assert told in caught.value.message
    assert caught.value.field == "corpus"
    assert caught.value.remedy


def test_folder_without_end_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "MOST_FILES", 2)
    for number in range(3):
        (file.parent / f"{number}.txt").touch()
    with pytest.raises(DataError, match="more than 2 files"):
        filling.filled(with_slot(), {"corpus": file.parent})


def test_slot_without_a_file_is_named() -> None:
    with pytest.raises(SpecError) as caught:
        filling.filled(with_slot(), {"other": Path("/a")})
    assert caught.value.field == "dataset_info.label"
    assert "corpus" in caught.value.message
