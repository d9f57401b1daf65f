"""The roster of a closed swarm: who may take part, signed by the organiser.

Sealed, a roster is its signature (Ed25519, 64 bytes) and a MessagePack array. The signature covers
the run id too, so a roster counts in one run only. Of two rosters the one with the higher serial
number counts, whoever passes it on and whenever. Rosters come from anybody: `unseal` believes
nothing that the organiser's key hasn't signed, and nothing out of bounds.
"""

import math
import time
from collections.abc import Iterable

import msgspec

from app.common.errors import RosterError
from app.common.i18n import _

VERSION = 1
SIGNATURE_BYTES = 64
MOST_BYTES = 60_000
"""Of a sealed roster. It travels in one record of the DHT."""

MOST_MEMBERS = 1000
LABEL_CHARACTERS = 40
_MOST_SERIAL = 2**53
_MOST_TIME = 1e12

_BASE58 = {
    letter: value
    for value, letter in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
}
_HASH = b"\x12\x20"
"""Begins the id of a peer whose key is long: a SHA-256."""


class Member(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A peer that may take part. New fields go to the end."""

    peer_id: str
    """In base58; the trainer's, which is what averaging sees."""

    label: str = ""
    """Whose it is, in the organiser's words. All of the swarm can read it."""


class Roster(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Who may take part in a run. New fields go to the end."""

    version: int = VERSION
    serial: int
    """Higher in each roster of a run than in the one before; the first has 1."""

    issued: float
    """When it was signed, by the organiser's clock, in seconds since the epoch."""

    members: tuple[Member, ...] = ()

    def with_member(self, peer_id: str, label: str) -> "Roster":
        """The next roster, with a peer added, or with another label for it.

        Raises `RosterError` for a text that is no peer id, and when there is no more room.
        """
        if raw_peer_id(peer_id) is None:
            raise RosterError(
                _("{text} is no peer id.").format(text=repr(peer_id[:80])),
                field="peer_id",
                remedy=_("Paste the code that the member's app shows: Qm… or 12D3KooW…"),
            )
        label = _on_one_line(label)
        if Member(peer_id=peer_id, label=label) in self.members:
            return self
        others = tuple(each for each in self.members if each.peer_id != peer_id)
        if len(others) >= MOST_MEMBERS:
            raise RosterError(
                _("the roster is full: it has {count} members.").format(count=len(others)),
                remedy=_("Remove members that don't take part any more."),
            )
        return self._next((*others, Member(peer_id=peer_id, label=label)))

    def without_member(self, peer_id: str) -> "Roster":
        """The next roster, with a peer removed. Raises `RosterError` for one that isn't there."""
        others = tuple(each for each in self.members if each.peer_id != peer_id)
        if len(others) == len(self.members):
            raise RosterError(
                _("{text} is not on the roster.").format(text=repr(peer_id[:80])),
                field="peer_id",
                remedy=_("Look at the list of members."),
            )
        return self._next(others)

    def _next(self, members: tuple[Member, ...]) -> "Roster":
        return Roster(serial=self.serial + 1, issued=time.time(), members=members)


NOBODY = Roster(serial=0, issued=1.0)
"""Before the first roster of a run."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Roster)


def dht_key(run_id: str) -> str:
    """The key of the DHT under which a run's rosters lie; their subkeys are the serial numbers."""
    return f"{run_id}_roster"


def raw_peer_id(text: str) -> bytes | None:
    """A peer id as bytes: a hash of a key, or a short key itself. None when a text is none."""
    number = 0
    if not 20 <= len(text) <= 64:
        return None
    for letter in text:
        if letter not in _BASE58:
            return None
        number = number * 58 + _BASE58[letter]
    zeros = len(text) - len(text.lstrip("1"))
    raw = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
    hashed = raw[:2] == _HASH and len(raw) == 34
    plain = len(raw) > 2 and raw[0] == 0 and len(raw) == raw[1] + 2
    return raw if hashed or plain else None


def peer_ids_in(code: str) -> tuple[str, ...]:
    """The peer ids of a request code: one for each trainer of a machine, with spaces or commas
    between them."""
    return tuple(dict.fromkeys(code.replace(",", " ").split()))


def _on_one_line(label: str) -> str:
    clean = "".join(letter if letter.isprintable() else " " for letter in label)
    return clean[:LABEL_CHARACTERS].strip()


# --- sealed


def to_sign(body: bytes, run_id: str) -> bytes:
    """What the organiser's key signs."""
    return b"\0".join((b"cotrain roster", run_id.encode(), body))


def body_of(roster: Roster) -> bytes:
    """A roster as bytes, without its signature. Raises `RosterError` when it takes too many."""
    body = _encoder.encode(roster)
    if SIGNATURE_BYTES + len(body) > MOST_BYTES:
        raise RosterError(_("the roster is too large to be sent."), remedy=_("Use shorter labels."))
    return body


def unseal(
    sealed: bytes, *, organiser_key: str, run_id: str, least_serial: int = 1
) -> Roster | None:
    """The roster if it is sound and the organiser signed it for this run, else None.

    organiser_key: public, 32 bytes in base64. least_serial: an older roster is None, and costs
    little: anybody can store old ones again.
    """
    if not SIGNATURE_BYTES < len(sealed) <= MOST_BYTES:
        return None
    from app.common import signing

    body = sealed[SIGNATURE_BYTES:]
    if not signing.verify(organiser_key, to_sign(body, run_id), sealed[:SIGNATURE_BYTES]):
        return None
    try:
        roster = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return roster if roster.serial >= least_serial and _is_sound(roster) else None


def _is_sound(roster: Roster) -> bool:
    counts = VERSION <= roster.version <= 1000 and 0 < roster.serial <= _MOST_SERIAL
    if not counts or not math.isfinite(roster.issued) or not 0 < roster.issued < _MOST_TIME:
        return False
    if len(roster.members) > MOST_MEMBERS:
        return False
    ids = {each.peer_id for each in roster.members}
    return len(ids) == len(roster.members) and all(map(_is_sound_member, roster.members))


def _is_sound_member(member: Member) -> bool:
    fits = len(member.label) <= LABEL_CHARACTERS and member.label.isprintable()
    return fits and raw_peer_id(member.peer_id) is not None


def raw_ids(members: Iterable[Member]) -> frozenset[bytes]:
    """The peer ids of members, as bytes."""
    found = (raw_peer_id(each.peer_id) for each in members)
    return frozenset(raw for raw in found if raw is not None)
