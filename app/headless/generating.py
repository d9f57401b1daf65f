"""``generate`` on the command line: the text on stdout, all else on stderr.

Needs no session: the app may run and train with the same data folder meanwhile. Only to fetch
weights, where this machine has none, the data folder must be free.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from app.commands.generate import GenerateCommand
from app.common.errors import UserFacingError
from app.common.i18n import _
from app.common.paths import Folders
from app.common.plain import several_lines
from app.generation.generation import Generation
from app.generation.process import WantedText, Written
from app.generation_messages import GenerationEnded, TextGenerated, WeightsLoaded
from app.headless.display import say
from app.headless.fetching import fetch
from app.settings.settings import Settings
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.bindings import Bindings
from app.swarm.recents import Recents

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

INTERRUPTED = 130
"""As shells have it after Ctrl-C."""


def run(
    command: GenerateCommand, folders: Folders, settings: Settings, *, data: Mapping[str, str]
) -> int:
    """Write the text; returns the exit status. data: files for the swarm's slots, by label."""
    try:
        return asyncio.run(_run(command, folders, settings, data=data))
    except UserFacingError as error:
        say(error.text)
        return 1


async def _run(
    command: GenerateCommand, folders: Folders, settings: Settings, *, data: Mapping[str, str]
) -> int:
    bindings = Bindings(folders.slots_file)
    await bindings.open()
    bindings.give(data)
    store = Store(settings=settings, state=ContributorState())
    generation = Generation(store, folders=folders, bindings=bindings)
    fetching = partial(fetch, folders=folders, settings=settings, bindings=bindings)
    writing = asyncio.create_task(_write(command, folders, generation, fetching))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, writing.cancel)
    try:
        await writing
    except asyncio.CancelledError:
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads the text any more
        sys.stdout = None  # Python would flush it once more, and fail
    finally:
        await generation.close()
    return 0


async def _write(
    command: GenerateCommand,
    folders: Folders,
    generation: Generation,
    fetching: "Callable[[SwarmSpec], Awaitable[None]]",
) -> None:
    spec = await Recents(folders.recents_file).read_invite(command.swarm)
    if command.fetch or generation.refusal(spec.run_id) is not None:
        await fetching(spec)
    wanted = WantedText(
        prompt=command.prompt, temperature=command.temperature, tokens=command.tokens
    )
    async for written in generation.write(spec, wanted):
        _show(written, command.prompt)


def _show(written: Written, prompt: str) -> None:
    match written:
        case WeightsLoaded(epoch=epoch):
            say(_("Writing with the weights of epoch {epoch}…").format(epoch=epoch))
            _print(prompt)
        case TextGenerated(text=text):
            _print(several_lines(text))
        case GenerationEnded():
            _print("\n")


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
