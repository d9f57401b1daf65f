"""Where the local API is, as the state knows it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LocalApi:
    """Where callers on this machine, or beyond, reach us. wanted_port: the setting's, which
    somebody else has when it is another one than the address's."""

    url: str
    port: int
    wanted_port: int


@dataclass(frozen=True, kw_only=True)
class LocalApiChanged:
    """The local API is served, or, with None, no longer."""

    local_api: LocalApi | None
