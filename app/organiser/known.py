"""The organisers that this machine has met: trust on first use.

Whoever signs an invite can call himself anything. What counts is whether the key is the one that
signed the run's invite, or stood beside the name, when we joined before.
"""

import json
import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.common.paths import read_json, set_aside, write_atomically
from app.organiser.invites import OrganiserSpec

log = logging.getLogger(__name__)

VERSION = 1
MOST_ENTRIES = 1000
"""Of runs, and of names; beyond it the oldest are forgotten."""

MOST_BYTES = 1024 * 1024


class Standing(StrEnum):
    """What we know of an invite's organiser."""

    UNSIGNED = "unsigned"  # nobody vouches for the invite, and nobody did before
    NEW = "new"
    KNOWN = "known"
    CHANGED = "changed"  # another key than before, or none any more


@dataclass(frozen=True, kw_only=True)
class Acquaintance:
    """What we know of an invite's organiser."""

    standing: Standing
    remembered: str = ""
    """The public key that signed before; "" where none did."""


class KnownOrganisers:
    """Keys by run id and by name, in a file of mode 0600. Blocks on the file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def judge(self, run_id: str, organiser: OrganiserSpec | None) -> Acquaintance:
        """Compare the organiser in an invite with the one that we know."""
        known = self._load()
        of_run = known["runs"].get(run_id, "")
        if organiser is None:
            standing = Standing.CHANGED if of_run else Standing.UNSIGNED
            return Acquaintance(standing=standing, remembered=of_run)
        remembered = of_run or known["names"].get(_named(organiser), "")
        if remembered:
            same = remembered == organiser.key
            standing = Standing.KNOWN if same else Standing.CHANGED
            return Acquaintance(standing=standing, remembered=remembered)
        is_known = organiser.key in known["names"].values()  # by another name
        return Acquaintance(standing=Standing.KNOWN if is_known else Standing.NEW)

    def remember(self, run_id: str, organiser: OrganiserSpec | None) -> None:
        """From now on, this is the organiser of the run. Raises `OSError`."""
        known = self._load()
        runs = {key: value for key, value in known["runs"].items() if key != run_id}
        names = known["names"]
        if organiser is not None:
            name = _named(organiser)
            runs[run_id] = organiser.key
            names = {key: value for key, value in names.items() if key != name}
            names[name] = organiser.key
        found = {"runs": _newest(runs), "names": _newest(names)}
        if found != known:
            content = json.dumps({"version": VERSION} | found, ensure_ascii=False, indent=1)
            write_atomically(self._file, content.encode())

    def _load(self) -> dict[str, dict[str, str]]:
        try:
            content = read_json(self._file, most=MOST_BYTES)
        except FileNotFoundError:
            return {"runs": {}, "names": {}}
        except OSError as error:
            log.warning("the known organisers can't be read: %s", error)
            return {"runs": {}, "names": {}}
        except ValueError:
            content = None
        found = _parsed(content)
        if found is None:
            set_aside(self._file)
        return found or {"runs": {}, "names": {}}


def _named(organiser: OrganiserSpec) -> str:
    return organiser.name.casefold()


def _newest(entries: dict[str, str]) -> dict[str, str]:
    return dict(list(entries.items())[-MOST_ENTRIES:])


def _parsed(content: Any) -> dict[str, dict[str, str]] | None:
    match content:
        case {"version": 1, "runs": dict() as runs, "names": dict() as names}:
            texts = (*runs.values(), *names.values())
            if all(isinstance(each, str) for each in texts):
                return {"runs": runs, "names": names}
    return None
