"""Invites: a swarm's spec on its way from one machine to another, as a file or as a link.

A file (``*.cotrain``) is the spec as JSON. A link is ``cotrain://join?v=1&spec=…``: the same JSON,
compressed (zlib, RFC 1950) and written in base64url without padding, so that it survives being
pasted, wrapped by a mailer or scanned from a screen. Anybody may have written what comes in, so
it is bounded before it is decoded and validated as a whole: what comes out is a `SwarmSpec` or
an `InviteError`, nothing in between.
"""

import base64
import binascii
import json
import math
import re
import stat
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from app.common.errors import InviteError, SpecError
from app.common.i18n import _
from app.common.paths import write_atomically
from app.p2p import network
from app.spec.schema import MAX_SPEC_BYTES, SwarmSpec, parse

SUFFIX = ".cotrain"
VERSION = 1
"""Of the file's fields and of the link's coding; raised when an older app couldn't read it."""

MAX_LINK = 32 * 1024
"""Characters. Compressed, a spec of this app is far below it; more isn't decoded at all."""

MAX_PEERS = 64
_LINK = re.compile(r"cotrain:(?://)?join/?\?(?P<query>[^#]*)(#.*)?", re.IGNORECASE)
_AROUND = "<>\"'"


# --- out


def as_file(spec: SwarmSpec) -> bytes:
    """The content of an invite file."""
    return (_dumped(spec, indent=2) + "\n").encode()


def as_link(spec: SwarmSpec) -> str:
    """The invite in one line. All fields are in it: what an app takes for granted may change."""
    content = _dumped(spec, separators=(",", ":")).encode()
    coded = base64.urlsafe_b64encode(zlib.compress(content, 9)).rstrip(b"=").decode()
    return f"cotrain://join?v={VERSION}&spec={coded}"


def _dumped(spec: SwarmSpec, **style: Any) -> str:
    return json.dumps(spec.to_json(), ensure_ascii=False, allow_nan=False, **style)


def save(spec: SwarmSpec, path: Path) -> None:
    """Write an invite file. Raises `InviteError` where that can't be."""
    try:
        write_atomically(path, as_file(spec), mode=0o644)  # made to be given away
    except OSError as error:
        raise InviteError(
            _("can't be written: {reason}.").format(reason=error.strerror or error),
            field=str(path),
            remedy=_("Choose another folder."),
        ) from error


def shared(spec: SwarmSpec, addresses: Iterable[str]) -> SwarmSpec:
    """The spec that others enter by: our own addresses first, then those that it had.

    An address of loopback is left out where there are others: elsewhere it leads nowhere.
    """
    known = dict.fromkeys((*addresses, *spec.initial_peers))
    outside = [each for each in known if network.reach(each) is not network.Reach.MACHINE]
    peers = (outside or list(known))[:MAX_PEERS]
    return spec.model_copy(update={"initial_peers": tuple(peers)})


# --- in


def load(source: str) -> SwarmSpec:
    """Read an invite that a person or the desktop named: a link, or the path of a file.

    Reads a file, so keep it off the loop's thread. Raises `InviteError`.
    """
    return read_link(source) if is_link(source) else load_file(Path(source))


def load_file(path: Path) -> SwarmSpec:
    """Read an invite file. Raises `InviteError`."""
    try:
        path = path.expanduser()
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
            raise InviteError(
                _("is no ordinary file."), field=str(path), remedy=_("Choose an invite file.")
            )
        with path.open("rb") as stream:
            content = stream.read(MAX_SPEC_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:  # no such file, a NUL, no such ~user
        raise InviteError(
            _("can't be read: {reason}.").format(reason=getattr(error, "strerror", 0) or error),
            field=str(path),
            remedy=_("Check the path and that you may read the file."),
        ) from error
    return read(content, name=str(path))


def is_link(text: str) -> bool:
    """Whether somebody meant a link, right or wrong."""
    return text.lstrip().lstrip(_AROUND)[:8].lower() == "cotrain:"


def read_text(text: str) -> SwarmSpec:
    """Read what somebody pasted: a link, or a file's content. Raises `InviteError`."""
    if is_link(text):
        return read_link(text)
    if not text.lstrip().startswith("{"):
        raise InviteError(
            _("is no invite."),
            field=_("invite"),
            remedy=_("An invite link starts with cotrain://join; copy all of it."),
        )
    return read(text.encode(errors="surrogatepass"), name=_("invite"))


def read_link(text: str) -> SwarmSpec:
    """Read an invite link. Raises `InviteError`."""
    if len(text) > MAX_LINK:
        _refuse_link(_("is too long to be an invite."))
    found = _LINK.fullmatch("".join(text.split()).strip(_AROUND))
    if found is None:
        _refuse_link(_("is not complete, or no invite."))
    try:
        fields = dict(parse_qsl(found["query"], strict_parsing=True, max_num_fields=8))
    except ValueError:
        _refuse_link(_("is damaged."))
    _check_version(fields.get("v"), str(VERSION), field=_("link"))
    return read(_unpacked(fields.get("spec", "")), name=_("link"))


def _unpacked(coded: str) -> bytes:
    try:
        packed = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
        decoder = zlib.decompressobj()
        content = decoder.decompress(packed, MAX_SPEC_BYTES + 1)
    except (binascii.Error, ValueError, zlib.error):
        _refuse_link(_("is damaged."))
    if len(content) <= MAX_SPEC_BYTES and (not decoder.eof or decoder.unused_data):
        _refuse_link(_("is not complete."))
    return content


def _refuse_link(message: str) -> NoReturn:
    raise InviteError(
        message, field=_("link"), remedy=_("Copy all of the link, or ask for the invite file.")
    )


def read(content: bytes, *, name: str) -> SwarmSpec:
    """Read an invite's JSON. name: of where it comes from, for errors. Raises `InviteError`."""
    if len(content) > MAX_SPEC_BYTES:
        raise InviteError(_("is too large to be a swarm's spec."), field=name, remedy=_again())
    fields = _json_object(content, name=name)
    _check_version(fields.get("version", VERSION), VERSION, field="version")
    try:
        spec = parse(fields)
    except SpecError as error:
        raise InviteError(error.message, field=error.field, remedy=error.remedy) from error
    _check_text(spec, name=name)
    return spec


def _json_object(content: bytes, *, name: str) -> dict[str, Any]:
    try:
        fields = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InviteError(
            _("is not valid JSON: {reason}.").format(reason=reason), field=name, remedy=_again()
        ) from error
    if not isinstance(fields, dict):
        raise InviteError(
            _("holds no JSON object, so no swarm's spec."), field=name, remedy=_again()
        )
    return fields


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:20]} is beyond all numbers")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _again() -> str:
    return _("Ask for the invite again.")


def _check_text(spec: SwarmSpec, *, name: str) -> None:
    """JSON can name halves of characters, which can be neither shown nor sent on."""
    try:
        as_file(spec)
    except (ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise InviteError(
            _("holds text that can't be passed on."), field=name, remedy=_again()
        ) from error


def _check_version(found: object, ours: object, *, field: str) -> None:
    if isinstance(found, type(ours)) and found != ours:
        raise InviteError(
            _("has version {version}, which this app doesn't know.").format(
                version=str(found)[:20]
            ),
            field=field,
            remedy=_("Update the app, or ask for an invite of version {version}.").format(
                version=ours
            ),
        )
    if found is None:
        raise InviteError(_("has no version."), field=field, remedy=_again())
