"""The app's folders, and files that are replaced as a whole."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.common.errors import FolderError
from app.common.paths import Folders, read_json, role_of, without_home, write_atomically


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_default_folders_are_in_the_home(home: Path) -> None:
    folders = Folders.default()
    assert all(each.is_relative_to(home) for each in (folders.data, folders.logs, folders.cache))


def test_one_root_holds_everything(tmp_path: Path) -> None:
    folders = Folders.under(tmp_path / "here")
    places = (
        folders.logs,
        folders.cache,
        folders.settings_file,
        folders.lock_file,
        folders.instance_file,
        folders.identity_file("app"),
        folders.checkpoints("run"),
    )
    assert all(each.is_relative_to(tmp_path / "here") for each in places)


def test_root_may_start_with_a_tilde(home: Path) -> None:
    assert Folders.under(Path("~/here")).data == home / "here"


def test_create_makes_folders_for_the_owner_alone(tmp_path: Path) -> None:
    folders = Folders.under(tmp_path / "here")
    folders.create()
    folders.create()
    made = (folders.data, folders.logs, folders.cache, folders.identity_file("app").parent)
    assert {mode_of(each) for each in made} == {0o700}


@pytest.mark.parametrize("place", ["file/below", "locked"])
def test_a_folder_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    # root may write everywhere, whatever the mode
    monkeypatch.setattr(Path, "write_bytes", refuse(errno.EACCES))
    with pytest.raises(FolderError) as caught:
        Folders.under(tmp_path / place).create()
    assert caught.value.field == str(tmp_path / place)
    assert "--data-dir" in caught.value.remedy


def test_a_full_disk_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", refuse(errno.ENOSPC))
    with pytest.raises(FolderError, match=r"No space left on device\. Make room") as caught:
        Folders.under(tmp_path).create()
    assert caught.value.field == str(tmp_path)


def refuse(number: int) -> Callable[..., None]:
    def write(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return write


def test_only_the_first_call_is_the_first_time(tmp_path: Path) -> None:
    folders = Folders.under(tmp_path)
    assert [folders.first_time(what) for what in ("a", "a", "b")] == [True, False, True]


def test_without_a_writable_marker_it_is_never_the_first_time(tmp_path: Path) -> None:
    """It would else be the first time at each start."""
    (tmp_path / "once").write_text("no folder")
    assert not Folders.under(tmp_path).first_time("a")


def test_written_file_is_the_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"content")
    assert (file.read_bytes(), mode_of(file)) == (b"content", 0o600)


def test_written_file_has_no_leftovers_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    write_atomically(file, b"old")
    write_atomically(file, b"new")
    assert [each.name for each in file.parent.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError("no space left on device")

    file = tmp_path / "file"
    write_atomically(file, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b'{"a": [1]}')
    assert read_json(tmp_path / "a", most=10) == {"a": [1]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b" " * 1000 + b"1", b"[" * 999])
def test_damaged_file_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a", most=999)


def test_deep_nesting_is_damage_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"[" * 100_000)
    with pytest.raises(ValueError, match="nested too deep"):
        read_json(tmp_path / "a", most=10**6)


def test_roles() -> None:
    assert [role_of(place) for place in range(3)] == ["trainer", "trainer-1", "trainer-2"]


def test_home_folder_is_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "al"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    text = f"{home}/.cache/x, {home}: gone, {home}ice/y, '{home}'"
    assert without_home(text) == f"~/.cache/x, ~: gone, {home}ice/y, '~'"
    monkeypatch.setenv("HOME", "/")
    assert without_home("/etc/x") == "/etc/x"
