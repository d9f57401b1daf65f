"""What a swarm is for, in the words of whoever runs it.

Nothing here decides what is trained: two peers whose specs differ in it alone train the same run.
It is what an invite says, which anybody can write who isn't held to an organiser's signature.
"""

import contextlib
import re
from datetime import date, datetime
from typing import Any

from pydantic import Field, field_validator

from app.common.i18n import _
from app.spec.part import SpecPart
from app.spec.slots import UNPRINTABLE

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class AboutSpec(SpecPart):
    """Texts for people, each on one line, and shown as they are written; "" is not said."""

    purpose: str = Field("", max_length=500)
    """What for."""

    organiser: str = Field("", max_length=100)
    """Who runs it. A signed spec says by its key whose it is, too."""

    until: date | None = None
    """The last day on which it is meant to run. Nothing ends by it."""

    licence: str = Field("", max_length=100)
    """Of the trained weights: an SPDX identifier, such as ``Apache-2.0``, or a few words."""

    contact: str = Field("", max_length=200)
    """Where to ask: an address of any kind, never made a link."""

    @field_validator("purpose", "organiser", "licence", "contact")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if UNPRINTABLE.search(value):
            raise ValueError(_("this is one line of printable text"))
        return value

    @field_validator("until", mode="before")
    @classmethod
    def _is_a_day(cls, value: Any) -> Any:
        # pydantic would take a number for seconds, and a signature would not hold for what it makes
        if value is None or isinstance(value, date):
            return value
        with contextlib.suppress(ValueError):
            if isinstance(value, str) and _DAY.fullmatch(value):
                return date.fromisoformat(value)
        raise ValueError(_("a day is written as 2027-03-31"))

    @property
    def is_over(self) -> bool:
        """The last day is past, by this machine's clock."""
        return self.until is not None and self.until < _today()

    def as_json(self) -> dict[str, str]:
        """What is said, by the fields' names, without what isn't."""
        said = self.model_dump(mode="json", exclude_none=True)
        return {name: text for name, text in said.items() if text}


def _today() -> date:
    return datetime.now().astimezone().date()


def in_words(about: AboutSpec | None) -> dict[str, str]:
    """What is said, by labels for the user; empty where nothing is."""
    if about is None:
        return {}
    over = _("{day}, which is past")
    day = "" if about.until is None else about.until.isoformat()
    said = {
        _("Purpose"): about.purpose,
        _("Run by"): about.organiser,
        _("Runs until"): over.format(day=day) if about.is_over else day,
        _("Licence of the model"): about.licence,
        _("Contact"): about.contact,
    }
    return {label: text for label, text in said.items() if text}
