"""The swarms that were joined last: bounded, the owner's alone, and never lost by a mistake."""

import asyncio
import json
import stat
from pathlib import Path

import pytest

from app.spec import schema as spec
from app.spec.schema import SwarmSpec
from app.swarm import recents
from app.swarm.recents import MAX_RECENTS, Recents
from tests.support.training.specs import SMALLEST


def swarm(run_id: str, title: str = "") -> SwarmSpec:
    return spec.parse({**SMALLEST, "run_id": run_id, "title": title})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recent.json"


@pytest.fixture
def kept(file: Path) -> Recents:
    return Recents(file)


async def run_ids(kept: Recents) -> list[str]:
    return [entry.spec.run_id for entry in await kept.load()]


async def test_at_first_there_are_none(kept: Recents) -> None:
    assert await kept.load() == ()


async def test_newest_comes_first_and_once(kept: Recents, file: Path) -> None:
    for run_id in ("a", "b", "a"):
        await kept.remember(swarm(run_id))
    assert await run_ids(Recents(file)) == ["a", "b"]


async def test_spec_is_the_newest_of_its_run(kept: Recents) -> None:
    await kept.remember(swarm("a", "old"))
    await kept.remember(swarm("a", "new"))
    assert [entry.spec.title for entry in await kept.load()] == ["new"]


async def test_list_is_bounded(kept: Recents) -> None:
    for number in range(MAX_RECENTS + 3):
        await kept.remember(swarm(f"run{number}"))
    assert len(await kept.load()) == MAX_RECENTS
    assert (await run_ids(kept))[0] == f"run{MAX_RECENTS + 2}"


async def test_swarm_is_forgotten(kept: Recents) -> None:
    for run_id in ("a", "b"):
        await kept.remember(swarm(run_id))
    await kept.forget("a")
    assert await run_ids(kept) == ["b"]


async def test_many_at_once_are_all_kept(kept: Recents) -> None:
    await asyncio.gather(*(kept.remember(swarm(f"run{number}")) for number in range(8)))
    assert len(await kept.load()) == 8


async def test_file_is_its_owners_alone(kept: Recents, file: Path) -> None:
    await kept.remember(swarm("a"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"\xff", b"[" * 100_000, b" " * (recents.MAX_BYTES + 1)]
)
async def test_damaged_file_is_set_aside(kept: Recents, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert await kept.load() == ()
    assert file.with_suffix(".damaged").read_bytes() == content
    await kept.remember(swarm("a"))
    assert await run_ids(kept) == ["a"]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"joined_at": 1, "spec": {}},
        {"joined_at": "today", "spec": SMALLEST},
        {"joined_at": float("nan"), "spec": SMALLEST},
        {"joined_at": 1e300, "spec": SMALLEST},
        {"joined_at": 1, "spec": {**SMALLEST, "version": 2}},
    ],
)
async def test_damaged_entry_costs_no_other(kept: Recents, file: Path, entry: object) -> None:
    await kept.remember(swarm("good"))
    content = json.dumps([entry, *json.loads(file.read_bytes())])
    file.write_text(content, encoding="utf-8")
    assert await run_ids(kept) == ["good"]
    assert file.with_suffix(".damaged").read_text(encoding="utf-8") == content


async def test_disk_that_refuses_keeps_nobody_from_joining(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.mkdir()
    kept = Recents(file)
    await kept.remember(swarm("a"))
    assert await kept.load() == ()
    assert "can't be written" in caplog.text


async def test_where_peers_were_seen_is_kept_with_the_swarm(kept: Recents, file: Path) -> None:
    here = f"/ip4/192.0.2.7/tcp/8080/p2p/{'Qm' * 20}"
    await kept.remember(swarm("a"))
    await kept.note_seen("a", [here])
    await kept.note_seen("unknown", [here])
    await kept.remember(swarm("a", "newer"))
    assert await Recents(file).seen("a") == (here,)
    content = json.loads(file.read_text(encoding="utf-8"))
    content[0]["seen"] = ["nonsense", 3, here]
    file.write_text(json.dumps(content), encoding="utf-8")
    assert await Recents(file).seen("a") == (here,)
    del content[0]["seen"]  # as an older version wrote it
    file.write_text(json.dumps(content), encoding="utf-8")
    assert await Recents(file).seen("a") == ()
    assert await run_ids(kept) == ["a"]
