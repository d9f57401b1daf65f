"""The organiser's signature in an invite.

It covers the whole spec as canonical JSON (RFC 8785) but ``initial_peers``, which whoever shares an
invite refreshes, and the signature itself. Where the organiser left the backend's numbers open, the
backend's session may have filled them: nothing is reported that the backend doesn't list. A field
that a later version adds must be left out of a spec's JSON while it has its default, or older
signatures would no longer hold.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.common.i18n import _

NAME_CHARACTERS = 60
KEY_PATTERN = r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"
"""32 bytes in base64. Their last letter has two unused bits, which must be 0: otherwise one key
could be written in four ways."""

NO_NUMBERS = {"session_id": None, "training_id": None}
"""The backend's numbers of a spec that leaves them open."""

_SIGNATURE_PATTERN = r"^[A-Za-z0-9+/]{85}[AQgw]==$"
_SHORT_CHARACTERS = 12


class OrganiserSpec(BaseModel):
    """Whose swarm it is. The key says it; the name is what the organiser calls himself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=NAME_CHARACTERS)
    key: str = Field(pattern=KEY_PATTERN)
    """The organiser's public key (Ed25519)."""

    closed: bool = False
    """Only members on the organiser's roster may take part (`app.organiser.roster`)."""

    signature: str = Field(pattern=_SIGNATURE_PATTERN)
    """By the key, over the spec (`to_sign`)."""

    @field_validator("name")
    @classmethod
    def _is_printable(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip():
            raise ValueError(_("a name is one line of printable text"))
        return value

    def as_signed(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """A spec, given as JSON values, as the organiser signed it; None if he didn't.

        It has no numbers of the backend's if they were filled later.
        """
        forms = (fields, fields | NO_NUMBERS)
        return next((form for form in forms if self._signs(form)), None)

    def _signs(self, fields: dict[str, Any]) -> bool:
        from app.common import signing

        try:
            content = to_sign(fields)
        except ValueError:  # a number that not every JSON library reads alike
            return False
        return signing.verify(self.key, content, signing.from_text(self.signature))


def to_sign(fields: dict[str, Any]) -> bytes:
    """What the organiser signs of a spec, given as JSON values.

    Raises `ValueError` for numbers that have no canonical form, such as integers beyond 2^53.
    """
    from app.common import signing

    organiser = {key: value for key, value in fields["organiser"].items() if key != "signature"}
    rest = {key: value for key, value in fields.items() if key != "initial_peers"}
    return b"cotrain invite\0" + signing.canonical(rest | {"organiser": organiser})


def shortened(key: str) -> str:
    """The first letters of a public key, for people to compare."""
    return f"{key[:_SHORT_CHARACTERS]}…"
