"""A machine that only watches fetches the swarm's weights, writes with them and takes them out."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.support.processes.apps import ROOT, StartApp, tiny_spec

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


async def run(*arguments: str) -> tuple[int, str, str]:
    """A subcommand's exit status, and what it wrote to stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "main.py"), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace"), errors.decode()


async def test_weights_are_fetched_from_a_trainer_and_from_a_door(
    start_app: StartApp, tmp_path: Path
) -> None:
    spec = tiny_spec()
    door = await start_app("--bootstrap", "--snapshot-every", "1", spec=spec)
    line = await door.wait_for(lambda line: line["url"] is not None)
    spec["initial_peers"] = line["addresses"]
    invite = tmp_path / "run.cotrain"
    invite.write_text(json.dumps(spec))
    trainer = await start_app(spec=spec)
    await door.wait_for(lambda line: (line["snapshot"] or {}).get("epoch") is not None)
    at = ("--swarm", str(invite), "--data-dir", str(tmp_path / "watcher"))
    status, text, said = await run("generate", *at, "--prompt", "def ", "--tokens", "8")
    assert (status, text[:4]) == (0, "def "), said
    assert "from a trainer" in said
    _status, _text, said = await run("generate", *at, "--tokens", "8")
    assert "Fetched" not in said  # it is kept
    assert await trainer.stop() == 0
    status, _text, said = await run("generate", *at, "--tokens", "8", "--fetch")
    assert status == 0, said
    assert "from the door" in said
    other = ("--swarm", str(invite), "--data-dir", str(tmp_path / "other"))
    status, text, said = await run("export", *other, "--to", str(tmp_path / "model"))
    assert status == 0, said
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert await door.stop() == 0
