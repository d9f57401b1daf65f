"""A text, from the app to the process that writes it and back, with a real model."""

import asyncio
from pathlib import Path

import psutil
import pytest

from app.common.errors import BusyError, GenerationError
from app.common.paths import Folders
from app.generation.generation import Generation
from app.generation.process import WantedText, Written
from app.generation_messages import GenerationEnded, TextGenerated, WeightsLoaded
from app.settings.settings import Settings
from app.spec.schema import SwarmSpec
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.bindings import Bindings
from tests.support.training.checkpoints import keep
from tests.support.training.models import spec_of

pytestmark = pytest.mark.e2e

SPEC = spec_of(n_layer=24)
"""Slow enough that a text of 1000 tokens doesn't end before it is stopped."""
PATIENCE = 120.0


def generation(folder: Path) -> Generation:
    folders = Folders.under(folder)
    store = Store(settings=Settings(), state=ContributorState())
    return Generation(store, folders=folders, bindings=Bindings(folders.slots_file))


def text_of(reports: list[Written]) -> str:
    return "".join(each.text for each in reports if isinstance(each, TextGenerated))


async def written(writer: Generation, *, spec: SwarmSpec = SPEC, tokens: int = 12) -> list[Written]:
    wanted = WantedText(prompt="ab\ud800", temperature=0.0, tokens=tokens)
    async with asyncio.timeout(PATIENCE):
        return [report async for report in writer.write(spec, wanted)]


def processes() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.is_running() and "--generate" in child.cmdline()
    ]


@pytest.mark.slow
async def test_a_text_is_written_stopped_and_its_process_ends(tmp_path: Path) -> None:
    writer = generation(tmp_path)
    folder = writer._folders.checkpoints(SPEC.run_id) / "trainer"
    with pytest.raises(GenerationError, match="no weights"):
        await written(writer)
    keep(SPEC, folder, epoch=3, writes=ord("x"))
    first = await written(writer)
    assert isinstance(first[0], WeightsLoaded)
    assert text_of(first) == 12 * "x"
    (process,) = processes()
    assert process.num_threads() < 8
    # the same process reads the newer weights
    keep(SPEC, folder, epoch=4, writes=ord("y"))
    assert text_of(await written(writer)) == 12 * "y"
    assert processes() == [process]
    # one at a time, which can be stopped
    pieces = writer.write(SPEC, WantedText(tokens=1000, temperature=0))
    assert isinstance(await anext(pieces), WeightsLoaded)
    with pytest.raises(BusyError):
        await written(writer)
    stopping = asyncio.create_task(writer.stop())
    rest = [report async for report in pieces]
    await stopping
    assert isinstance(rest[-1], GenerationEnded)
    assert rest[-1].reason == "stopped"
    # one that dies is told and replaced
    pieces = writer.write(SPEC, WantedText(tokens=1000, temperature=0))
    assert isinstance(await anext(pieces), WeightsLoaded)
    process.kill()
    with pytest.raises(GenerationError, match="system ended"):
        assert [report async for report in pieces]
    assert text_of(await written(writer, tokens=1)) == "y"
    # a listener that goes away takes the process with it
    pieces = writer.write(SPEC, WantedText(tokens=1000, temperature=0))
    assert isinstance(await anext(pieces), WeightsLoaded)
    await pieces.aclose()  # type: ignore[attr-defined]
    await writer.close()
    await writer.close()
    assert processes() == []
