"""Invites: a swarm's spec as a file or a link, to pass from one machine to another.

A file (``*.cotrain``) is the spec as JSON. A link is ``cotrain://join?v=1&spec=…``: the same JSON,
compressed (zlib, RFC 1950) and written in base64url without padding, so that it survives being
pasted, wrapped by a mailer or scanned from a screen. The input is untrusted: its size is limited
before it is decoded, and the spec is validated as a whole. Reading gives a `SwarmSpec` or raises
`InviteError`, and nothing else.

An invite names no paths of the machine that reads it (see `app.spec.filling`): what is written has
slots instead, and what is read with a path is refused.
"""

import base64
import binascii
import json
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from app.common.errors import InviteError, SpecError
from app.common.i18n import _
from app.common.paths import open_regular, write_atomically
from app.p2p import network
from app.spec import filling
from app.spec.schema import MAX_SPEC_BYTES, SwarmSpec, parse

SUFFIX = ".cotrain"
VERSION = 1
"""Of the file's fields and the link's encoding; raised when older apps can't read the new form."""

MAX_LINK = 32 * 1024
"""Characters in a link; a longer one isn't decoded. Links of this app are much shorter."""

MAX_PEERS = 64

_LEFT_OPEN = {"session_id": None, "training_id": None, "title": ""}
"""Fields that are left out where they have these values, that is, where they aren't known: a
session of the backend that has the invite as its configuration fills them."""

_LINK = re.compile(r"cotrain:(?://)?join/?\?(?P<query>[^#]*)(#.*)?", re.IGNORECASE)
_WRAPPERS = "<>\"'"


# --- writing


def as_file(spec: SwarmSpec) -> bytes:
    """The content of an invite file, with slots instead of paths."""
    return (_as_json(filling.emptied(spec), indent=2) + "\n").encode()


def as_link(spec: SwarmSpec) -> str:
    """The invite as a link, with slots instead of paths. It has all fields, since the defaults of
    an app may change."""
    content = _as_json(filling.emptied(spec), separators=(",", ":")).encode()
    coded = base64.urlsafe_b64encode(zlib.compress(content, 9)).rstrip(b"=").decode()
    return f"cotrain://join?v={VERSION}&spec={coded}"


def _as_json(spec: SwarmSpec, **style: Any) -> str:
    content = spec.to_json()
    if spec.organiser is not None:  # numbers that were filled later are not in what is signed
        content = spec.organiser.as_signed(content) or content
    known = {name: value for name, value in content.items() if _LEFT_OPEN.get(name, ...) != value}
    return json.dumps(known, ensure_ascii=False, allow_nan=False, **style)


def save(spec: SwarmSpec, path: Path) -> None:
    """Write an invite file. Raises `InviteError` when it can't be written."""
    try:
        write_atomically(path, as_file(spec), mode=0o644)  # an invite is made to be shared
    except OSError as error:
        raise InviteError(
            _("can't be written: {reason}.").format(reason=error.strerror or error),
            field=str(path),
            remedy=_("Choose another folder."),
        ) from error


def shared(spec: SwarmSpec, addresses: Iterable[str]) -> SwarmSpec:
    """The spec for others to join by: our own addresses first, then those of the spec.

    Our own paths become slots. Loopback addresses are left out if there are others: they are
    useless on another machine.
    """
    known = dict.fromkeys((*addresses, *spec.initial_peers))
    outside = [each for each in known if network.reach(each) is not network.Reach.MACHINE]
    peers = (outside or list(known))[:MAX_PEERS]
    return filling.emptied(spec).model_copy(update={"initial_peers": tuple(peers)})


# --- reading


def load(source: str, *, own: Sequence[SwarmSpec] = ()) -> SwarmSpec:
    """Read an invite from a link or the path of a file.

    own: specs of this machine, whose paths the invite may name.

    Blocks on the file, so don't call it on the event loop's thread. Raises `InviteError`.
    """
    return read_link(source, own=own) if is_link(source) else load_file(Path(source), own=own)


def load_file(path: Path, *, own: Sequence[SwarmSpec] = ()) -> SwarmSpec:
    """Read an invite file. Raises `InviteError`."""
    try:
        with open_regular(path.expanduser()) as stream:  # reading a pipe could block for ever
            content = stream.read(MAX_SPEC_BYTES + 1)
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # no such file, a NUL in the path, an unknown ~user
        raise InviteError(
            _("can't be read: {reason}.").format(reason=getattr(error, "strerror", 0) or error),
            field=str(path),
            remedy=_("Check the path and that you may read the file."),
        ) from error
    return read(content, name=str(path), own=own)


def is_link(text: str) -> bool:
    """Whether a text is meant to be a link, valid or not."""
    return text.lstrip().lstrip(_WRAPPERS)[:8].lower() == "cotrain:"


def read_text(text: str, *, own: Sequence[SwarmSpec] = ()) -> SwarmSpec:
    """Read pasted text: a link, or a file's content. Raises `InviteError`."""
    if is_link(text):
        return read_link(text, own=own)
    if not text.lstrip().startswith("{"):
        raise InviteError(
            _("is no invite."),
            field=_("invite"),
            remedy=_("An invite link starts with cotrain://join; copy all of it."),
        )
    return read(text.encode(errors="surrogatepass"), name=_("invite"), own=own)


def read_link(text: str, *, own: Sequence[SwarmSpec] = ()) -> SwarmSpec:
    """Read an invite link. Raises `InviteError`."""
    if len(text) > MAX_LINK:
        _refuse_link(_("is too long to be an invite."))
    found = _LINK.fullmatch("".join(text.split()).strip(_WRAPPERS))
    if found is None:
        _refuse_link(_("is not complete, or no invite."))
    try:
        fields = dict(parse_qsl(found["query"], strict_parsing=True, max_num_fields=8))
    except ValueError:
        _refuse_link(_("is damaged."))
    _check_version(fields.get("v"), str(VERSION), field=_("link"))
    return read(_decoded(fields.get("spec", "")), name=_("link"), own=own)


def _decoded(coded: str) -> bytes:
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


def read(content: bytes, *, name: str, own: Sequence[SwarmSpec] = ()) -> SwarmSpec:
    """Read an invite's JSON. name: its source, for error messages. Raises `InviteError`."""
    spec = read_own(content, name=name)
    filling.refuse_paths(spec, own=own)
    return spec


def read_own(content: bytes, *, name: str) -> SwarmSpec:
    """Read the JSON of a spec that this app has kept itself. Raises `InviteError`."""
    if len(content) > MAX_SPEC_BYTES:
        raise InviteError(_("is too large to be a swarm's spec."), field=name, remedy=_ask_again())
    fields = _json_object(content, name=name)
    _check_version(fields.get("version", VERSION), VERSION, field="version")
    try:
        spec = parse(fields)
    except SpecError as error:
        raise InviteError(
            error.message, field=error.field, remedy=error.remedy, all=error.all
        ) from error
    _check_encodable(spec, name=name)
    return spec


def _not_json(content: bytes, error: Exception) -> str:
    """For whoever chose a wrong file, and for whoever made a mistake in a spec of their own."""
    if isinstance(error, UnicodeDecodeError):
        return _("is no invite: it holds no text.")
    if not content.lstrip().startswith(b"{"):
        return _("is no invite: it holds some other text.")
    reason = str(error).splitlines()[0][:200]
    return _("is not valid JSON: {reason}.").format(reason=reason)


def _json_object(content: bytes, *, name: str) -> dict[str, Any]:
    try:
        fields = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InviteError(_not_json(content, error), field=name, remedy=_ask_again()) from error
    if not isinstance(fields, dict):
        raise InviteError(
            _("holds no JSON object, so it is no swarm's spec."), field=name, remedy=_ask_again()
        )
    return fields


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:20]} is beyond all numbers")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _ask_again() -> str:
    return _("Ask for the invite again.")


def _check_encodable(spec: SwarmSpec, *, name: str) -> None:
    """Refuse lone surrogates, which JSON can contain but which can't be encoded as UTF-8."""
    try:
        _as_json(spec).encode()
    except (ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise InviteError(
            _("holds text that can't be passed on."), field=name, remedy=_ask_again()
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
        raise InviteError(_("has no version."), field=field, remedy=_ask_again())
