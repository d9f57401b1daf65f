"""The rounds that we know of: ours, the one before, and those that others began before us."""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.trainer.exchange.calling import MemberCalls
from app.trainer.exchange.election import find_leader, order, rank
from app.trainer.exchange.faults import Faults
from app.trainer.exchange.holding import Holding
from app.trainer.exchange.leader import LedRound
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.wire import MOST_MEMBERS, AskLeader

MOST_EARLY = 2
"""How many epochs others may be ahead of ours."""

MOST_SKIPPED = 4
"""How many of those that a caller couldn't reach we call ourselves, if we don't know them."""


@dataclass(eq=False, kw_only=True)
class EpochRound:
    """What we know of the round of an epoch."""

    epoch: int

    deciding: "asyncio.Task[str | None] | None" = None
    """Finds the leader: its peer id, None for nobody. Raises `CutOffError`."""

    is_declined: bool = False
    """We were asked to lead before our first round, and refused: now we rather follow."""

    has_failed: bool = False
    """Our part in it failed before there was a list."""

    led: LedRound | None = None
    """When we lead."""

    holding: "asyncio.Future[Holding]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """The list and its blobs, once there is a list."""

    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)

    def close(self) -> None:
        """Whoever waits for it is cancelled."""
        for task in self.tasks:
            task.cancel()
        self.holding.cancel()


class RoundTable:
    """All rounds, by epoch, and how their leaders are found."""

    def __init__(
        self, calls: MemberCalls, *, client_mode: bool, rules: ExchangeRules, faults: Faults
    ) -> None:
        """client_mode: nobody can call us, so we lead nothing."""
        self._calls = calls
        self._client_mode = client_mode
        self._rules = rules
        self._faults = faults
        self._rounds: dict[int, EpochRound] = {}
        self._others: frozenset[str] = frozenset()
        self._has_declined = False
        self.newest = -1
        """The epoch whose round we entered last."""

    def of(self, epoch: int) -> EpochRound | None:
        """A round, if we know it."""
        return self._rounds.get(epoch)

    def expects(self, peer_id: str) -> bool:
        """Whether a peer was among the trainers when we entered our last round."""
        return peer_id in self._others

    def asked_for(self, epoch: int) -> EpochRound | None:
        """The round that another peer asks for; None when it can't be now."""
        if epoch in self._rounds or epoch <= self.newest:
            return self._rounds.get(epoch)
        if self.newest < 0:  # we may need minutes until we take part
            self._has_declined = True
            return None
        if epoch > self.newest + MOST_EARLY:
            return None
        self._rounds[epoch] = EpochRound(epoch=epoch)
        return self._rounds[epoch]

    def enter(self, epoch: int, others: Collection[str]) -> EpochRound:
        """Begin a round of ours, and forget those that nobody needs any more."""
        last, self.newest, self._others = self.newest, epoch, frozenset(others)
        for each in list(self._rounds):
            if each not in (last, epoch) and not epoch < each <= epoch + MOST_EARLY:
                self._rounds.pop(each).close()
        self._faults.forget_before(last)
        if epoch not in self._rounds:
            is_declined = last < 0 and self._has_declined
            self._rounds[epoch] = EpochRound(epoch=epoch, is_declined=is_declined)
        return self._rounds[epoch]

    def may_wait(self, this: EpochRound, caller: str, asked: AskLeader) -> bool:
        """Whether a caller may wait until we know who leads; see `election`."""
        if not this.is_declined or (this.deciding is not None and this.deciding.done()):
            return True
        return asked.insists and self._is_behind_us(this, caller)

    def decide(self, this: EpochRound, skipped: Collection[str] = ()) -> None:
        """Begin to find the leader. skipped: those that a caller couldn't reach."""
        known = {*self._others, *list(skipped)[:MOST_SKIPPED]} - {self._calls.own_id}
        may = {
            each
            for each in known
            if self._rules.admission.may_join(each) and not self._faults.is_evicted(each)
        }
        candidates = order(self._rules.run_id, this.epoch, may)[:MOST_MEMBERS]
        this.deciding = asyncio.create_task(self._find_leader(this, candidates))
        this.tasks.add(this.deciding)

    async def _find_leader(self, this: EpochRound, candidates: list[str]) -> str | None:
        before = [each for each in candidates if not self._is_behind_us(this, each)]
        if self._client_mode:
            return await self._found(this, candidates)
        if this.is_declined:
            leader = await self._found(this, candidates)
            leader = leader or await self._found(this, before, insists=True)
        else:
            leader = await self._found(this, before)
        if leader is None:
            self._lead(this)
            leader = self._calls.own_id
        return leader

    async def _found(
        self, this: EpochRound, candidates: list[str], *, insists: bool = False
    ) -> str | None:
        def ask(peer_id: str, skipped: Sequence[str]) -> Coroutine[Any, Any, str]:
            asked = AskLeader(epoch=this.epoch, skipped=tuple(skipped), insists=insists)
            return self._calls.ask_leader(peer_id, asked)

        rank_of = partial(rank, self._rules.run_id, this.epoch)
        return await find_leader(candidates, ask=ask, rank_of=rank_of)

    def _is_behind_us(self, this: EpochRound, peer_id: str) -> bool:
        rank_of = partial(rank, self._rules.run_id, this.epoch)
        return rank_of(peer_id) > rank_of(self._calls.own_id)

    def _lead(self, this: EpochRound) -> None:
        led = LedRound(
            this.epoch,
            own_id=self._calls.own_id,
            known=self._others,
            rules=self._rules,
            faults=self._faults,
        )

        async def lead() -> None:
            await led.run()
            this.holding.set_result(led.fixed.result())

        this.led = led
        this.tasks.add(asyncio.create_task(lead()))

    def close(self) -> None:
        """End all rounds."""
        for each in self._rounds.values():
            each.close()
        self._rounds.clear()
