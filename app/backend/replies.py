"""The backend's replies as types. Decimals may come as strings or as numbers; both are read."""

import codecs
import json
import math
import re
from decimal import Decimal
from typing import Annotated, Any, NoReturn

import msgspec

from app.common.i18n import _

MAX_ROW_CHARACTERS = 64 * 1024
"""Largest row of a read-back."""

_BETWEEN_ROWS = re.compile(r"[\s,]*")

Token = Annotated[str, msgspec.Meta(max_length=16 * 1024, pattern=r"^[!-~]+$")]
"""A token as it can stand in a header."""

Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]

Number = Decimal
"""Not a float, because a number's decimal places show how the backend has rounded it."""


def _check_finite(*numbers: Number) -> None:
    """Raise `ValueError`, which msgspec turns into its own error, for infinity and NaN."""
    if not all(number.is_finite() and math.isfinite(float(number)) for number in numbers):
        raise ValueError(_("a number is not finite"))


class _Reply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Unknown fields are ignored."""


class User(_Reply, frozen=True, kw_only=True):
    """An account."""

    email: str = ""
    username: str | None = None


class SignedIn(_Reply, frozen=True, kw_only=True):
    """Reply to a sign-in. The tokens are JWTs."""

    access_token: Token
    """Valid for minutes."""

    refresh_token: Token
    """Valid for days."""

    user: User = User()


class Renewed(_Reply, frozen=True, kw_only=True):
    """Reply to a refresh. The refresh token stays valid."""

    access_token: Token


class TrainingSession(_Reply, frozen=True, kw_only=True):
    """A session: something that can be trained."""

    id: str
    title: str
    description: str | None = None
    type: str | None = None
    difficulty: str | None = None
    status: str = ""
    requirements: dict[str, Any] | None = None
    rewards: Any = None

    configuration: dict[str, Any] | None = None
    """The spec of the session's swarm; not validated yet."""

    session_id: Any = None
    """The number by which contributions are reported, if the backend says it here."""

    participants: Any = None

    @property
    def number(self) -> int | None:
        """The number by which contributions are reported: the configuration's or, where that
        leaves it open, the session's own. None if neither says it."""
        for said in ((self.configuration or {}).get("session_id"), self.session_id):
            if said is not None:
                return said if type(said) is int and 0 <= said < 2**63 else None
        return None


class SessionPage(_Reply, frozen=True, kw_only=True):
    """One page of the sessions."""

    data: list[TrainingSession]

    total: Count
    """Sessions on all pages."""

    page: Count
    """Counted from 1."""

    limit: Count
    """Sessions on a page at most."""

    total_pages: Count


class Counted(_Reply, frozen=True, kw_only=True):
    """A contribution that the backend has counted: a row of its table."""

    session_id: int
    compute_time: Number
    gradient_quality: Number
    data_transmitted: Number
    uptime_ratio: Number
    node_id: str = ""
    contribution_score: Number | None = None

    timestamp: Any = None
    """By the backend's clock, which may be wrong."""

    def __post_init__(self) -> None:
        _check_finite(
            self.compute_time, self.gradient_quality, self.data_transmitted, self.uptime_ratio
        )


class ProjectedReward(_Reply, frozen=True, kw_only=True):
    """What a node may expect of a session's reward."""

    base_reward: Number
    bonus_reward: Number
    total_projected: Number
    ranking: Count

    def __post_init__(self) -> None:
        _check_finite(self.base_reward, self.bonus_reward, self.total_projected)


class Said(_Reply, frozen=True, kw_only=True):
    """A reply whose content doesn't matter, only that the request succeeded."""

    message: Any = None


class BadRowError(Exception):
    """A read-back isn't an array of rows, or a row isn't one."""


class RowReader:
    """Parses the rows of a read-back, a JSON array of objects, from pieces as they arrive."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)
        self._rest = ""
        self._begun = self._ended = False

    def feed(self, piece: bytes) -> list[Counted]:
        """The rows that are complete with this piece. Raises `BadRowError`."""
        try:
            return self._parse(self._rest + self._text.decode(piece))
        except (ValueError, RecursionError) as error:
            raise BadRowError(error) from error

    def _parse(self, text: str) -> list[Counted]:
        rows: list[Counted] = []
        at = _next(text, 0)
        while at < len(text):
            if self._ended or (not self._begun and text[at] != "["):
                raise ValueError(_("it is no list"))
            if not self._begun:
                self._begun, at = True, at + 1
            elif text[at] == "]":
                self._ended, at = True, at + 1
            else:
                try:
                    found, at = self._json.raw_decode(text, at)
                except json.JSONDecodeError:  # maybe only because the rest is still to come
                    if len(text) - at > MAX_ROW_CHARACTERS:
                        raise
                    break
                rows.append(msgspec.convert(found, type=Counted, strict=False))
            at = _next(text, at)
        self._rest = text[at:]
        return rows

    def end(self) -> None:
        """To be called after the last piece. Raises `BadRowError` when the array isn't complete."""
        if not self._ended:
            raise BadRowError(_("it is no complete list"))


def _next(text: str, at: int) -> int:
    """Where the next token begins."""
    found = _BETWEEN_ROWS.match(text, at)
    assert found is not None
    return found.end()


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
