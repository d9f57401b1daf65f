"""What the local API shows beyond the contract, taken from the session."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from app.callback.host import Sources
from app.contributions import Contributions
from app.ledger import Entry, Ledger


class Shown(Protocol):
    """The session, as far as it is shown."""

    contributions: Contributions


def sources_of(session: Shown) -> Sources:
    """All that there is to show of a session."""
    return Sources(contributions=LedgerSource(session.contributions))


class LedgerSource:
    """What this machine has given."""

    def __init__(self, contributions: Contributions) -> None:
        self._ledger = contributions.ledger

    async def contributions(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest contributions, newest first: as they are signed, and how reporting went."""
        return [_shown(entry) for entry in await self._ledger.run(Ledger.all, limit=limit)]


def _shown(entry: Entry) -> dict[str, Any]:
    contribution = entry.contribution
    return contribution.document() | {
        "signature": contribution.signature,
        "score": contribution.score,
        "state": entry.state.value,
        "attempts": entry.attempts,
        "remark": entry.remark,
    }
