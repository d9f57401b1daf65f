"""What the backend says, typed. Its decimals come as strings or as numbers; both are read."""

from decimal import Decimal
from typing import Any

import msgspec

Number = Decimal
"""Not a float: how many places a number was given with tells how it was rounded."""


class _Reply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Fields that we don't know are passed over."""


class User(_Reply, frozen=True, kw_only=True):
    """An account."""

    email: str = ""
    username: str | None = None


class SignedIn(_Reply, frozen=True, kw_only=True):
    """Reply to a sign-in. Tokens are JWTs: access for minutes, refresh for days."""

    access_token: str
    refresh_token: str
    user: User = User()


class Renewed(_Reply, frozen=True, kw_only=True):
    """Reply to a refresh: the refresh token stays as it is."""

    access_token: str


class TrainingSession(_Reply, frozen=True, kw_only=True):
    """Something that can be trained. configuration: where a swarm's spec travels; not checked."""

    id: str
    title: str
    description: str | None = None
    type: str | None = None
    difficulty: str | None = None
    status: str = ""
    requirements: dict[str, Any] | None = None
    rewards: Any = None
    configuration: dict[str, Any] | None = None
    participants: Any = None


class SessionPage(_Reply, frozen=True, kw_only=True):
    """One page of the sessions, counted from 1. total: sessions on all pages."""

    data: list[TrainingSession]
    total: int
    page: int
    limit: int
    total_pages: int


class Counted(_Reply, frozen=True, kw_only=True):
    """A contribution that the backend has counted. timestamp: by its clock, which may be wrong."""

    session_id: int
    compute_time: Number
    gradient_quality: Number
    data_transmitted: Number
    uptime_ratio: Number
    node_id: str = ""
    contribution_score: Number | None = None
    timestamp: Any = None


class ProjectedReward(_Reply, frozen=True, kw_only=True):
    """What a node may expect of a session's reward."""

    base_reward: Number
    bonus_reward: Number
    total_projected: Number
    ranking: int


class Said(_Reply, frozen=True, kw_only=True):
    """A reply of which only the status counts."""

    message: Any = None
