"""This version beside another one: in one swarm with version 0.1.0, and with what a newer one made.

`test_data_folder.py` has the settings, ledger and checkpoints of 0.1.0.
"""

import contextlib
import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import SpecError
from app.spec import schema
from tests.support.processes.apps import ROOT, App, start_app, tiny_spec

RELEASED = "e010153c36415c270c49dcdf7696e83684954f79"
"""Version 0.1.0, of which `tests/data/data_folder_0_1_0` is."""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released code, from git."""
    command = ("git", "-C", str(ROOT), "archive", RELEASED)
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no git history here")
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    # no environment variable changes it there, and a busy machine leaves it no time
    process = folder / "app" / "trainer" / "process.py"
    process.write_text(process.read_text().replace("NICENESS = 19", "NICENESS = 0"))
    return folder


@contextlib.asynccontextmanager
async def running(app: App) -> AsyncIterator[None]:
    """Ends it."""
    try:
        yield
    finally:
        await app.stop()


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("older_opens", [True, False], ids=["older opens", "newer opens"])
async def test_two_versions_train_in_one_swarm(
    released: Path, tmp_path: Path, older_opens: bool
) -> None:
    codes = (released, ROOT) if older_opens else (ROOT, released)
    file, invite = tmp_path / "run.cotrain", tmp_path / "invite.cotrain"
    file.write_text(json.dumps(tiny_spec()))
    first = await start_app(tmp_path / "first", "--swarm", str(file), code=codes[0])
    async with running(first):
        there = await first.wait_for(lambda line: bool(line["addresses"]))
        invite.write_text(json.dumps(tiny_spec(initial_peers=list(there["addresses"]))))
        second = await start_app(tmp_path / "second", "--swarm", str(invite), code=codes[1])
        async with running(second):
            newer = second if older_opens else first
            await together(newer, epochs=3)
            for app in (first, second):
                await app.trains(epoch=3, peers=2)


async def together(app: App, *, epochs: int) -> None:
    """Wait until an app was in so many rounds with another peer. An older one doesn't tell."""
    seen: set[int] = set()

    def is_it(line: dict[str, Any]) -> bool:
        last = line["last_round"]
        if last is not None and last["peers"] == 2 and not last["failure"]:
            seen.add(last["epoch"])
        return len(seen) >= epochs

    await app.wait_for(is_it)


def at_each_level(field: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The dotted name of an unknown field, and a spec that has it there."""
    yield field, tiny_spec(**{field: 1})
    for part in ("training_params", "dataset_info"):
        spec = tiny_spec()
        yield f"{part}.{field}", spec | {part: spec[part] | {field: 1}}


def test_field_of_a_newer_spec_is_named_with_what_to_do() -> None:
    for name, spec in at_each_level("attention_sinks"):
        with pytest.raises(SpecError) as caught:
            schema.parse(spec)
        assert caught.value.field == name
        assert "this version of the app" in caught.value.text
        assert "update the app" in caught.value.remedy


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_app_says_which_field_of_a_newer_invite_it_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "newer.cotrain"
    file.write_text(json.dumps(tiny_spec(attention_sinks=4)))
    app = await start_app(tmp_path / "app", "--swarm", str(file))
    assert await app.ends() == 1
    assert "attention_sinks" in app.errors
    assert "update the app" in app.errors
    assert "Traceback" not in app.errors
