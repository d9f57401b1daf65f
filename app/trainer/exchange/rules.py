"""What a member of an exchange believes of others, and how long it waits for them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from app.organiser.admission import Admission
from app.trainer.exchange.wire import HASH_BYTES, MOST_MEMBERS, MOST_MESSAGE_BYTES, PIECE_BYTES


@dataclass(frozen=True, kw_only=True)
class Waits:
    """How long others are waited for, in seconds."""

    answer: float = 5.0
    """Until a peer that is called takes the call."""

    silence: float = 20.0
    """Between two things that a peer sends; one that is silent for longer is given up."""

    word: float = 5.0
    """A peer that others wait for says so as often as this."""

    doubling: float = 5.0
    """A piece that is on its way for longer is asked of one more member, if nothing else is left to
    ask for."""


@dataclass(frozen=True, kw_only=True)
class ExchangeRules:
    """The bounds of a run's exchange, the same at all its members."""

    run_id: str
    admission: Admission

    check: Callable[[bytes], None]
    """Raises `ValueError` for a blob that can't be read; called in a thread."""

    most_bytes: int
    """Of a blob."""

    most_weight: float

    gather_seconds: float
    """How long a leader waits for offers."""

    round_seconds: float
    """The longest time of a round."""

    waits: Waits = field(default_factory=Waits)

    @property
    def most_pieces(self) -> int:
        """Of a blob."""
        return -(-self.most_bytes // PIECE_BYTES)

    @property
    def most_offer_bytes(self) -> int:
        """Of the message with an offer."""
        return MOST_MESSAGE_BYTES + HASH_BYTES * self.most_pieces

    @property
    def most_list_bytes(self) -> int:
        """Of the message with a list."""
        return MOST_MEMBERS * self.most_offer_bytes

    @property
    def most_having_bytes(self) -> int:
        """Of the message that says which pieces a member has."""
        return MOST_MESSAGE_BYTES + MOST_MEMBERS * self.most_pieces // 8
