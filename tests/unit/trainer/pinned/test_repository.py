"""Files of a hub's commit, from a hub of our own on the loopback."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from app.common.errors import DataError
from app.protocol import FileDownload
from app.spec.sources.pinned import PinnedRepository
from app.trainer.pinned.arrival import Arrival
from app.trainer.pinned.downloads import Downloads
from app.trainer.pinned.repository import fetch_files
from tests.support.network.model_hub import COMMIT, ModelHub, ask, running_hub

SMALL, LARGE = b"{}\n", b"weights " * 9000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    with running_hub() as running:
        running.repositories["us/model"] = {
            "config.json": SMALL,
            "model.safetensors": LARGE,
            "model.py": b"raise SystemExit",
        }
        ask(running, monkeypatch)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield running


def fetched(cache: Path, *names: str, **options: Any) -> dict[str, Path]:
    wanted = names or ("config.json", "model.safetensors")
    repository = PinnedRepository(name=options.pop("name", "us/model"), revision=COMMIT)
    return fetch_files(
        repository,
        lambda files: [each for each in files if each.name in wanted],
        field="pretrained.name",
        cache=cache,
        **{"limit": 10**6, "sign_in": False, "arrival": Arrival("weights"), **options},
    )


def test_only_what_is_needed_is_fetched_and_once(hub: ModelHub, tmp_path: Path) -> None:
    found = fetched(tmp_path)
    assert found["config.json"].read_bytes() == SMALL
    assert found["model.safetensors"].read_bytes() == LARGE
    assert not any("model.py" in path for path in hub.asked)
    hub.asked.clear()
    assert fetched(tmp_path) == found
    assert hub.asked == []


def test_it_tells_how_much_of_all_files_has_arrived(hub: ModelHub, tmp_path: Path) -> None:
    hub.repositories["us/model"]["model.safetensors"] = LARGE * 40  # more than one chunk
    enough = hub.held["model.safetensors"] = threading.Event()
    told: list[FileDownload] = []

    def tell(report: FileDownload) -> None:
        told.append(report)
        if report.received > len(SMALL):
            enough.set()

    downloads = Downloads(cache=tmp_path, report=tell)
    with downloads.arriving("weights") as arrival:
        fetched(tmp_path, arrival=arrival, limit=10**7)
    whole = len(SMALL) + len(LARGE) * 40
    assert any(len(SMALL) < each.received < whole for each in told)
    assert {each.size for each in told} == {whole}
    assert told[-1].received == whole
    told.clear()
    with downloads.arriving("weights") as arrival:
        fetched(tmp_path, arrival=arrival, limit=10**7)
    assert told == []


@pytest.mark.parametrize(
    ("sign_in", "tokens"), [(False, {None}), (True, {"Bearer hf_secret"})], ids=["without", "with"]
)
def test_the_users_token_is_sent_only_if_the_user_says_so(
    hub: ModelHub, tmp_path: Path, sign_in: bool, tokens: set[str | None]
) -> None:
    fetched(tmp_path, sign_in=sign_in)
    assert hub.tokens == tokens


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_isnt_the_commits_is_refused(hub: ModelHub, tmp_path: Path, name: str) -> None:
    hub.changed[name] = hub.repositories["us/model"][name][::-1]
    with pytest.raises(DataError, match=f"{name} of us/model isn't what the commit") as caught:
        fetched(tmp_path)
    assert caught.value.field == "pretrained.name"
    hub.changed.clear()
    assert fetched(tmp_path)[name].exists()


def test_more_bytes_than_allowed_are_not_fetched(hub: ModelHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="72,003 bytes to download; at most 72,002 are"):
        fetched(tmp_path, limit=72_002)
    assert not any("resolve" in path for path in hub.asked)


def test_a_name_that_leads_out_of_the_folder_is_not_listed(hub: ModelHub, tmp_path: Path) -> None:
    hub.repositories["us/model"] |= {"../../escaped": b"x", "/etc/x": b"x"}
    assert fetched(tmp_path / "cache", "../../escaped", "/etc/x") == {}


def test_a_repository_that_isnt_there_is_said(hub: ModelHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="us/none can't be fetched from the hub") as caught:
        fetched(tmp_path, name="us/none")
    assert "Check the network" in caught.value.remedy


def test_a_damaged_listing_is_asked_for_again(hub: ModelHub, tmp_path: Path) -> None:
    fetched(tmp_path)
    (listing,) = tmp_path.rglob(".listing.json")
    listing.write_text("[{}]")
    assert len(fetched(tmp_path)) == 2
