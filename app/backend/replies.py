"""The backend's replies as types. Decimals may come as strings or as numbers; both are read."""

from decimal import Decimal
from typing import Any

import msgspec

Number = Decimal
"""Not a float, because a number's decimal places show how the backend has rounded it."""


class _Reply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Unknown fields are ignored."""


class User(_Reply, frozen=True, kw_only=True):
    """An account."""

    email: str = ""
    username: str | None = None


class SignedIn(_Reply, frozen=True, kw_only=True):
    """Reply to a sign-in. The tokens are JWTs."""

    access_token: str
    """Valid for minutes."""

    refresh_token: str
    """Valid for days."""

    user: User = User()


class Renewed(_Reply, frozen=True, kw_only=True):
    """Reply to a refresh. The refresh token stays valid."""

    access_token: str


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

    participants: Any = None


class SessionPage(_Reply, frozen=True, kw_only=True):
    """One page of the sessions."""

    data: list[TrainingSession]

    total: int
    """Sessions on all pages."""

    page: int
    """Counted from 1."""

    limit: int
    """Sessions on a page at most."""

    total_pages: int


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


class ProjectedReward(_Reply, frozen=True, kw_only=True):
    """What a node may expect of a session's reward."""

    base_reward: Number
    bonus_reward: Number
    total_projected: Number
    ranking: int


class Said(_Reply, frozen=True, kw_only=True):
    """A reply whose content doesn't matter, only that the request succeeded."""

    message: Any = None
