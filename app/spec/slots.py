"""A slot: a place in a spec that each volunteer fills with a file or folder of his own."""

import re

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.common.i18n import _

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, line breaks and bidirectional overrides, which could disguise a text."""


class Slot(BaseModel):
    """What an invite asks for instead of naming a path on the volunteer's disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """The slot's name, unique in its spec."""

    description: str = Field("", max_length=500)
    """One line for people: what belongs into the slot."""

    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    """Of the one file that all peers have; a folder and any other file are refused then."""

    bytes: int | None = Field(None, ge=0)
    """Size of the file, or of all files of the folder together; any other size is refused."""

    @field_validator("description")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if UNPRINTABLE.search(value):
            raise ValueError(_("a description is one line of printable text"))
        return value
