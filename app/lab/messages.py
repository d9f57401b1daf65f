"""What an admin and a machine send each other: a signed command, and a signed answer.

Both are canonical JSON (RFC 8785) with a signature (Ed25519, 64 bytes) before it, which covers a
word for its kind too. They come from anybody: what the expected key hasn't signed isn't parsed, and
what doesn't make sense is a `LabFlaw` or None, never an exception.

Times are milliseconds since the epoch.
"""

import hashlib
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from app.common.plain import one_line

if TYPE_CHECKING:
    from app.common.signing import MachineKey

PROTOCOL = "/cotrain/lab/1"
"""Of the streams, as libp2p names it."""

VERSION = 1
SIGNATURE_BYTES = 64

MOST_ORDER_BYTES = 48 * 1024
"""The longest link of an invite, and some more."""

MOST_ANSWER_BYTES = 4096

LIFE_MS = 60_000
"""Between a command's issue and its expiry, at most."""

CLOCKS_MS = 3000
"""How far the clocks of admin and machine may be apart, as in hivemind."""

MOST_PAUSE_SECONDS = 30 * 86400
MOST_VALUES = 32
_NAME_CHARACTERS, _VALUE_CHARACTERS, _TEXT_CHARACTERS = 64, 500, 300
_MOST_NUMBER = 2**53 - 1


class LabFlaw(StrEnum):
    """Why a command isn't listened to. The value is the whole answer, which nobody signs."""

    FORGED = "key"  # this machine's lab key hasn't signed it
    MALFORMED = "malformed"  # it has, but this version doesn't understand it
    BUSY = "busy"


class LabVerdict(StrEnum):
    """What became of a command."""

    DONE = "done"
    BEGUN = "begun"  # ask again with the same command
    REFUSED = "refused"  # nothing was changed
    FAILED = "failed"


# --- commands


class _Command(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True
):
    pass


class StartTraining(_Command, frozen=True, kw_only=True, tag="start"):
    """Train, as soon as the machine's terms allow it; ends a pause."""


class StopTraining(_Command, frozen=True, kw_only=True, tag="stop"):
    """End training, with a checkpoint."""


class PauseTraining(_Command, frozen=True, kw_only=True, tag="pause"):
    """Pause for a time."""

    seconds: int


class ChangeSettings(_Command, frozen=True, kw_only=True, tag="set"):
    """Give other values to terms and settings of the machine's allow-list."""

    values: dict[str, str]
    """By the setting's or the term's name, as on the command line."""


class MoveToSwarm(_Command, frozen=True, kw_only=True, tag="move"):
    """Leave the swarm, and enter another one."""

    invite: str
    """A link, which has all of the spec and no paths."""


class ExportModel(_Command, frozen=True, kw_only=True, tag="export"):
    """Write the newest checkpoint of the swarm's model to the machine's own default folder."""


LabCommand = (
    StartTraining | StopTraining | PauseTraining | ChangeSettings | MoveToSwarm | ExportModel
)


def in_short(command: LabCommand) -> str:
    """A command as the command line has it, for logs and for the machine's user."""
    match command:
        case PauseTraining(seconds=seconds):
            return f"pause {seconds / 60:g} min"
        case ChangeSettings(values=values):
            return one_line("set " + " ".join(f"{name}={values[name]}" for name in sorted(values)))
        case _:
            return str(type(command).__struct_config__.tag)


class LabOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command to one machine, as the lab key signs it."""

    version: int = VERSION

    run: str
    """The run id of the swarm that the machine is in; "" in a network without a run."""

    machine: str
    """The machine's public key, 32 bytes in base64."""

    number: int
    """Higher than in each earlier command of this lab key."""

    issued: int

    expires: int
    """At most `LIFE_MS` later."""

    command: LabCommand


def new_order(run: str, machine: str, number: int, command: LabCommand) -> LabOrder:
    """An order that is issued now."""
    now = int(time.time() * 1000)
    return LabOrder(
        run=run, machine=machine, number=number, issued=now, expires=now + LIFE_MS, command=command
    )


_order_decoder = msgspec.json.Decoder(LabOrder)


def seal_order(order: LabOrder, key: "MachineKey") -> bytes:
    """Sign an order with the lab key."""
    return _sealed(b"cotrain lab command", order, key)


def open_order(sealed: bytes, lab_key: str) -> LabOrder | LabFlaw:
    """The order if the lab key signed it and it is sound. lab_key: public, in base64."""
    if not SIGNATURE_BYTES < len(sealed) <= MOST_ORDER_BYTES:
        return LabFlaw.FORGED
    if not _is_signed(b"cotrain lab command", sealed, lab_key):
        return LabFlaw.FORGED
    order = _decoded(_order_decoder, sealed)
    return order if order is not None and _is_sound(order) else LabFlaw.MALFORMED


def digest_of(sealed: bytes) -> str:
    """Names the content of a sealed message, whatever its signature."""
    return hashlib.sha256(sealed[SIGNATURE_BYTES:]).hexdigest()


def _is_sound(order: LabOrder) -> bool:
    if order.version != VERSION or not 0 < order.number <= _MOST_NUMBER:
        return False
    if not 0 < order.issued <= order.expires <= min(order.issued + LIFE_MS, _MOST_NUMBER):
        return False
    match order.command:
        case PauseTraining(seconds=seconds):
            return 0 < seconds <= MOST_PAUSE_SECONDS
        case ChangeSettings(values=values):
            return 0 < len(values) <= MOST_VALUES and _are_plain(values)
    return True


def _are_plain(values: Mapping[str, str]) -> bool:
    return all(
        len(name) <= _NAME_CHARACTERS
        and len(value) <= _VALUE_CHARACTERS
        and (name + value).isprintable()
        for name, value in values.items()
    )


# --- answers


class LabAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of an order, as the machine's key signs it."""

    version: int = VERSION

    order: str
    """The `digest_of` the order."""

    verdict: LabVerdict

    text: str = ""
    """More of it, or why not, in the machine's language."""

    time: int
    """By the machine's clock."""


_answer_decoder = msgspec.json.Decoder(LabAnswer)


def new_answer(order: str, verdict: LabVerdict, text: str) -> LabAnswer:
    """An answer that is given now. order: its digest."""
    text = one_line(text, most=_TEXT_CHARACTERS)
    return LabAnswer(order=order, verdict=verdict, text=text, time=int(time.time() * 1000))


def seal_answer(answer: LabAnswer, key: "MachineKey") -> bytes:
    """Sign an answer with the machine's key."""
    return _sealed(b"cotrain lab answer", answer, key)


def open_answer(sealed: bytes, machine: str, order: str) -> LabAnswer | None:
    """The answer if the machine signed it, and it is to this order; else None.

    machine: its public key in base64. order: the digest.
    """
    if not SIGNATURE_BYTES < len(sealed) <= MOST_ANSWER_BYTES:
        return None
    if not _is_signed(b"cotrain lab answer", sealed, machine):
        return None
    answer = _decoded(_answer_decoder, sealed)
    is_ours = answer is not None and (answer.version, answer.order) == (VERSION, order)
    return answer if is_ours else None


# --- both


def _sealed(kind: bytes, content: msgspec.Struct, key: "MachineKey") -> bytes:
    from app.common import signing

    body = signing.canonical(msgspec.to_builtins(content))
    return key.sign(kind + b"\0" + body) + body


def _is_signed(kind: bytes, sealed: bytes, public_key: str) -> bool:
    from app.common import signing

    body, signature = sealed[SIGNATURE_BYTES:], sealed[:SIGNATURE_BYTES]
    return signing.verify(public_key, kind + b"\0" + body, signature)


def _decoded(decoder: "msgspec.json.Decoder[Any]", sealed: bytes) -> Any:
    """The content; None when it is none, or isn't written canonically."""
    from app.common import signing

    body = sealed[SIGNATURE_BYTES:]
    try:
        content = decoder.decode(body)
        is_canonical = signing.canonical(msgspec.to_builtins(content)) == body
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return content if is_canonical else None
