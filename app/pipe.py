"""How messages travel between the app and its trainer: each is a line of JSON.

Commands go to the trainer's stdin, reports come from a private duplicate of its stdout.
"""

from typing import TypeVar

import msgspec

from app.common.errors import ProtocolError
from app.message import Message
from app.protocol import Command, Report

T = TypeVar("T")
_encoder = msgspec.json.Encoder()
_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_reports: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


def encode(message: Message) -> bytes:
    """Encode a message as a line with its newline. NaN and infinity become null."""
    return _encoder.encode(message) + b"\n"


def decode_command(line: bytes) -> Command:
    """Parse a line from the app. Raises `ProtocolError`."""
    return _decode(_commands, line)


def decode_report(line: bytes) -> Report:
    """Parse a line from the trainer. Raises `ProtocolError`."""
    return _decode(_reports, line)


def _decode(decoder: "msgspec.json.Decoder[T]", line: bytes) -> T:
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a message of ours: {error}: {line[:200]!r}") from error
