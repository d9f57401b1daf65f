"""Every message between the app and the process that writes texts, in both directions.

That process is `main.py --trainer --generate`. It says its version first, in `app.protocol.Hello`:
a change of a message here raises `app.protocol.VERSION`, too.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.common.errors import ProtocolError
from app.message import Message
from app.protocol import Hello, TrainerProblem

MOST_PROMPT = 4000
"""Characters of a prompt."""

MOST_TEMPERATURE = 2.0

MOST_TOKENS = 1000
"""Tokens of one text."""

MOST_TEXT = 16_000
"""Characters of one text: a tokenizer may have tokens of any length."""


# --- commands: app -> process


class OpenModel(Message, frozen=True):
    """Load the newest weights of this machine. The first command, once per process."""

    spec: dict[str, Any]
    """A `SwarmSpec` as JSON; its tokenizer is no slot."""

    checkpoint_dirs: tuple[str, ...]
    """Folders with checkpoints of the run, one for each of this machine's trainers."""

    cache_dir: str

    max_memory: int = 0
    """Bytes of the machine's memory that the process may take; 0 for what is free."""


class Generate(Message, frozen=True):
    """Go on with a text. Answered by `WeightsLoaded`, pieces of text, and `GenerationEnded`."""

    prompt: Annotated[str, Meta(max_length=MOST_PROMPT)]

    temperature: Annotated[float, Meta(ge=0, le=MOST_TEMPERATURE)]
    """0 takes the likeliest token each time; 1 draws tokens as often as the model expects them."""

    tokens: Annotated[int, Meta(ge=1, le=MOST_TOKENS)]
    """How many to write at most."""


class StopGenerating(Message, frozen=True):
    """End the text that is being written."""


GenerationCommand = OpenModel | Generate | StopGenerating


# --- reports: process -> app


class WeightsLoaded(Message, frozen=True):
    """A text begins, written with the weights of this epoch."""

    epoch: int


class TextGenerated(Message, frozen=True):
    """A piece of the text that is being written; whole characters only."""

    text: Annotated[str, Meta(max_length=MOST_TEXT)]


class GenerationEnded(Message, frozen=True):
    """The text has ended."""

    reason: Literal["length", "end", "stopped"]
    """It is as long as asked for, the model has ended it, or `StopGenerating` came."""

    tokens: int
    """Written."""

    seconds: float
    """From the prompt to the last token."""


GenerationReport = Hello | WeightsLoaded | TextGenerated | GenerationEnded | TrainerProblem

_commands: msgspec.json.Decoder[GenerationCommand] = msgspec.json.Decoder(GenerationCommand)
_reports: msgspec.json.Decoder[GenerationReport] = msgspec.json.Decoder(GenerationReport)


def decode_command(line: bytes) -> GenerationCommand:
    """Parse a line of the app. Raises `ProtocolError`."""
    try:
        return _commands.decode(line)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"no command of ours: {error}") from error  # it may hold a prompt


def decode_report(line: bytes) -> GenerationReport:
    """Parse a line of the process. Raises `ProtocolError`."""
    try:
        return _reports.decode(line)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"no report of ours: {error}") from error
