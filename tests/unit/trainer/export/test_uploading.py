"""Uploads to a hub: what arrives, what isn't sent twice, and what is left alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from app.common.errors import ExportError
from app.protocol import Message
from app.takeout.marker import write_marker
from app.takeout.messages import ExportProgress, ExportStep, Upload, Uploaded
from app.trainer.export import uploading
from tests.support.hub.server import TOKEN, Hub, Repository, model_hub

# huggingface_hub gives httpx2 a file in a way that is to go
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "ada/tiny"
FILES = {
    "README.md": b"---\n---\n# tiny\n",
    "config.json": b"{}",
    "model-1.safetensors": bytes(range(256)) * 40,
    "model-2.safetensors": bytes(reversed(range(256))) * 30,
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with model_hub() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        # a broken connection is tried again, after a second or more each time
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)
        yield made


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    write_marker(folder, run_id="tiny", epoch=3)
    return folder


def upload(folder: Path, **changes: Any) -> list[Message]:
    reports: list[Message] = []
    fields = {"repository": NAME, "public": False, "overwrite": False, "token": TOKEN} | changes
    uploading.upload(Upload(folder=str(folder), **fields), reports.append)
    return reports


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("part", [None, 4096])
def test_all_files_arrive_in_a_private_repository(
    hub: Hub, exported: Path, part: int | None
) -> None:
    hub.part = part
    *progress, done = upload(exported)
    assert done == Uploaded(url=f"{hub.url}/{NAME}", public=False)
    assert hub.repositories[NAME].private
    assert hub.has(NAME, content_of(exported))
    assert hub.repositories[NAME].commits == ["Export of tiny"]
    size = sum(map(len, content_of(exported).values()))
    assert progress[-1] == ExportProgress(step=ExportStep.UPLOADING, done=size, size=size)


def test_a_new_repository_is_public_only_if_that_is_wanted(hub: Hub, exported: Path) -> None:
    assert upload(exported, public=True)[-1] == Uploaded(url=f"{hub.url}/{NAME}", public=True)


def test_one_that_broke_off_goes_on_with_the_files_that_are_missing(
    hub: Hub, exported: Path
) -> None:
    hub.breaks_off = 1
    with pytest.raises(ExportError, match="broke off"):
        upload(exported)
    assert hub.repositories[NAME].files == {}  # nothing is to be seen yet
    hub.breaks_off = None
    upload(exported)
    assert len(hub.received) == len(set(hub.received)) == 2
    assert hub.has(NAME, content_of(exported))


def test_the_next_epoch_takes_the_place_of_the_last(hub: Hub, exported: Path) -> None:
    upload(exported)
    (exported / "config.json").write_bytes(b'{"a": 1}')
    write_marker_again(exported)
    upload(exported)
    assert hub.has(NAME, content_of(exported))


def test_weights_that_the_next_export_lacks_are_deleted(hub: Hub, exported: Path) -> None:
    upload(exported)
    hub.repositories[NAME].files["notes.txt"] = b"theirs"
    (exported / "model-2.safetensors").unlink()
    write_marker_again(exported)
    upload(exported)
    assert hub.has(NAME, content_of(exported) | {"notes.txt": b"theirs"})
    assert len(hub.repositories[NAME].commits) == 2


def write_marker_again(folder: Path) -> None:
    (folder / "cotrain-export.json").unlink()
    write_marker(folder, run_id="tiny", epoch=4)


def test_what_is_no_export_of_ours_is_left_alone_unless_that_is_allowed(
    hub: Hub, exported: Path
) -> None:
    hub.repositories[NAME] = Repository(private=True, files={"theirs.bin": b"1"})
    with pytest.raises(ExportError, match="something else"):
        upload(exported)
    assert hub.has(NAME, {"theirs.bin": b"1"})
    upload(exported, overwrite=True)
    assert hub.has(NAME, content_of(exported) | {"theirs.bin": b"1"})


def test_nothing_becomes_public_in_a_repository_that_was(hub: Hub, exported: Path) -> None:
    hub.repositories[NAME] = Repository(private=False)
    with pytest.raises(ExportError, match="everybody can see it"):
        upload(exported)
    assert hub.has(NAME, {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"token": "hf_wrong"}, "doesn't let this token"),
        ({"token": ""}, "no access token"),
        ({"repository": "others/tiny"}, "doesn't let this token"),
    ],
)
def test_who_may_not_write_is_told_so(
    hub: Hub, exported: Path, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(ExportError, match=said) as caught:
        upload(exported, **changes)
    assert caught.value.remedy
    assert TOKEN not in caught.value.text


def test_the_token_of_the_environment_is_used(
    hub: Hub, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    upload(exported, token="")
    assert hub.has(NAME, content_of(exported))


def test_a_folder_that_was_changed_is_not_sent(hub: Hub, exported: Path) -> None:
    (exported / "diary.txt").write_text("private")
    with pytest.raises(ExportError, match="changed since"):
        upload(exported)
    assert hub.repositories == {}


def test_a_hub_that_is_not_there(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match="broke off"):
        upload(exported)
