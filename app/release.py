"""A published version of this app, as the state knows it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Release:
    """A version later than this one. url: of the page to get it from."""

    version: str
    url: str


@dataclass(frozen=True, kw_only=True)
class ReleaseFound:
    """There is a later version."""

    release: Release
