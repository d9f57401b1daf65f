"""How our peer calls other members."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from hivemind.p2p import P2P

from app.p2p.sightings import PartFault
from app.trainer.exchange.election import NoAnswerError
from app.trainer.exchange.faults import Faults
from app.trainer.exchange.follower import asked_leader
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.streams import Line, LostError, NonsenseError, Stream, opened
from app.trainer.exchange.wire import AskLeader

OFFER, FETCH = "offer", "fetch"


def handler_name(run_id: str, call: str) -> str:
    """Under which a call is known to p2pd. call: `OFFER` or `FETCH`."""
    return f"{run_id}::exchange.{call}"


class MemberCalls:
    """Calls other members through our daemon."""

    def __init__(self, p2p: P2P, *, rules: ExchangeRules, faults: Faults) -> None:
        self._p2p = p2p
        self._rules = rules
        self._faults = faults
        self.line = Line()

    @property
    def own_id(self) -> str:
        """Our peer's, in base58."""
        peer_id: Any = self._p2p.peer_id
        return str(peer_id.to_base58())

    def opened(self, peer_id: str, call: str) -> AbstractAsyncContextManager[Stream]:
        """A stream to a member. call: `OFFER` or `FETCH`."""
        return opened(
            self._p2p,
            peer_id,
            handler_name(self._rules.run_id, call),
            line=self.line,
            answer=self._rules.waits.answer,
            silence=self._rules.waits.silence,
        )

    async def ask_leader(self, peer_id: str, asked: AskLeader) -> str:
        """Whom a member takes for the leader of a round. Raises `NoAnswerError`."""
        try:
            async with self.opened(peer_id, OFFER) as stream:
                leader = await asked_leader(stream, asked, self._rules)
        except LostError as error:
            raise NoAnswerError from error
        except NonsenseError as error:
            self._faults.name(asked.epoch, peer_id, PartFault.GROUP)
            raise NoAnswerError from error
        if leader is None or not self._rules.admission.may_join(leader):
            raise NoAnswerError
        return leader
