"""A model that was trained here, taken out by the command line, and used without this app."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes.apps import PATIENCE, ROOT, App, StartApp, lone_spec

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

USE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
written = model.generate(**tokenizer("The ", return_tensors="pt"), eos_token_id=None)
print(repr(tokenizer.decode(written[0])), len(written[0]))
"""


async def output_of(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def taken_out(app: App, folder: Path) -> dict[str, Any]:
    main = str(ROOT / "main.py")
    said = await output_of(
        *(sys.executable, main, "export", "--data-dir", str(app.folder), "--to", str(folder)),
        "--json",
    )
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    assert result["folder"] == str(folder)
    return result


async def written_by(folder: Path) -> str:
    """What the exported model writes, without this app (-I) and from another folder."""
    return await output_of(sys.executable, "-I", "-c", USE, str(folder))


async def test_a_model_is_taken_out_while_it_trains_and_writes(
    start_app: StartApp, tmp_path: Path
) -> None:
    app = await start_app(spec=lone_spec())
    await app.trains(epoch=2)  # the first epoch was kept
    folder = tmp_path / "taken out"
    result = await taken_out(app, folder)
    assert result["run_id"] == "tiny"
    assert result["epoch"] >= 1
    assert "# tiny" in (folder / "README.md").read_text()
    assert app.process.returncode is None
    assert await app.stop() == 0
    written = await written_by(folder)
    assert written.startswith(("'The ", '"The '))
    assert written.split()[-1] == "32"


async def test_the_demo_learns_to_write_and_is_taken_out(
    start_app: StartApp, tmp_path: Path
) -> None:
    app = await start_app("--demo")
    first = await app.wait_for(lambda line: line["evaluation"] and line["sample"])
    later = await app.wait_for(
        lambda line: (
            line["evaluation"]
            and line["evaluation"]["loss"] < first["evaluation"]["loss"]
            and line["sample"]["prompt"] == first["sample"]["prompt"]
            and line["sample"]["text"] != first["sample"]["text"]
        )
    )
    assert later["best_evaluation"]["loss"] <= later["evaluation"]["loss"]
    folder = tmp_path / "taken out"
    result = await taken_out(app, folder)
    assert result["epoch"] >= first["epoch"]
    assert await app.stop() == 0
    assert "## Evaluation" in (folder / "README.md").read_text()
    assert (await written_by(folder)).startswith(("'The ", '"The '))
