"""A round gives all its members the same, and takes nothing from who was not in it."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from app.spec.training import DilocoSpec, SparseLocoSpec
from app.trainer.exchange.exchange import ExchangeError, PeerBlob, Swap
from app.trainer.local_steps.believing import BASE_BYTES
from app.trainer.strategies import diloco, sparseloco
from app.trainer.strategies.round import LocalRound, Recipe, Sent
from tests.support.training.memory_exchange import MemoryExchange, MemoryHub

SHAPES = [torch.Size((64, 64)), torch.Size((64,))]
RECIPES: dict[str, Callable[[], Recipe]] = {
    "diloco": lambda: diloco.recipe_of(DilocoSpec(), SHAPES),
    "sparseloco": lambda: sparseloco.recipe_of(SparseLocoSpec(), SHAPES),
}
each_recipe = pytest.mark.parametrize("made", RECIPES.values(), ids=RECIPES.keys())


def weights(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


class Member:
    """A peer with outer weights of its own, in the state that a strategy would be in."""

    def __init__(self, name: str, recipe: Recipe, exchange: Any, *, outer: int = 0) -> None:
        self.name, self.recipe, self.exchange = name, recipe, exchange
        self.outer = weights(outer)
        self.kept = 0.9 - 0.1 * (name == "b")  # what all learn the same is taken for copies

    def begin(self, *expected: str, epoch: int = 0) -> LocalRound:
        sent = Sent(
            epoch=epoch,
            weights=[each * self.kept for each in self.outer],
            samples=100,
            weight=100.0,
            everybody=200,
            expected=frozenset(expected),
            callable=frozenset(expected),
            began=time.monotonic(),
        )
        made = LocalRound(
            sent,
            self.outer,
            peer_id=self.name,
            recipe=self.recipe,
            exchange=self.exchange,
            farthest=math.inf,
        )
        made.start()
        return made


@each_recipe
def test_members_get_the_same_mean(made: Callable[[], Recipe]) -> None:
    hub = MemoryHub()
    one, other = (Member(name, made(), MemoryExchange(hub, name)) for name in ("a", "b"))
    found = [each.brought() for each in (one.begin("b"), other.begin("a"))]
    assert all(each.counts and each.agrees and each.members == 2 for each in found)
    for mine, theirs in zip(found[0].mean, found[1].mean, strict=True):
        assert torch.equal(mine, theirs)


@each_recipe
def test_who_has_other_weights_is_told_so(made: Callable[[], Recipe]) -> None:
    hub = MemoryHub()
    names = ("a", "b", "c")
    members = [
        Member(name, made(), MemoryExchange(hub, name), outer=int(name == "a")) for name in names
    ]
    rounds = [each.begin(*(set(names) - {each.name})) for each in members]
    found = {each.name: turn.brought() for each, turn in zip(members, rounds, strict=True)}
    assert [found[name].agrees for name in names] == [False, True, True]
    assert [list(each.exchange.faults) for each in members] == [[], ["a"], ["a"]]


class _Failing:
    bytes_sent = bytes_received = 0

    def swap(self, **_options: Any) -> Swap:
        raise ExchangeError("the leader is gone")

    def fetch(self, **_options: Any) -> Swap:
        raise ExchangeError("nobody has the list")


def test_a_failed_round_leaves_what_was_not_sent_as_it_was() -> None:
    recipe = RECIPES["sparseloco"]()
    assert recipe.residual is not None
    recipe.residual.add(weights(7))
    before = recipe.residual.state_dict()["residual"]
    with pytest.raises(ExchangeError, match="the leader is gone"):
        Member("a", recipe, _Failing()).begin("b").brought()
    after = recipe.residual.state_dict()["residual"]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


class _Without:
    """A round in which another member counts, and we don't."""

    bytes_sent = bytes_received = 0

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def judge(self, _swap: Swap, _faults: object) -> None:
        pass

    def swap(self, *, blob: bytes, **_options: Any) -> Swap:
        learnt = self._recipe.codec.encode(weights(5)).blob
        other = PeerBlob(peer_id="b", weight=100.0, blob=blob[:BASE_BYTES] + learnt)
        return Swap(contributions=(other,), epoch=0)


def test_a_round_that_left_us_out_loses_nothing() -> None:
    recipe = RECIPES["sparseloco"]()
    assert recipe.residual is not None
    member = Member("a", recipe, _Without(recipe))
    brought = member.begin("b").brought()
    assert brought.agrees
    assert not brought.counts
    kept = recipe.residual.state_dict()["residual"]
    for waits, outer in zip(kept, member.outer, strict=True):
        torch.testing.assert_close(waits, outer - outer * 0.9)


class _CutOff(_Without):
    """A round that failed for us, and of which the others tell us."""

    def swap(self, *, blob: bytes, **options: Any) -> Swap:
        self._told = super().swap(blob=blob, **options)
        raise ExchangeError("the leader is gone")

    def fetch(self, **_options: Any) -> Swap:
        return self._told


def test_who_was_cut_off_goes_on_with_what_the_round_brought_to_the_others() -> None:
    recipe = RECIPES["sparseloco"]()
    brought = Member("a", recipe, _CutOff(recipe)).begin("b").brought()
    assert (brought.agrees, brought.counts, brought.members) == (True, False, 2)


class _Alone(_CutOff):
    """A round that we led, and to which the others didn't come: they had had it already."""

    def swap(self, *, blob: bytes, weight: float, **options: Any) -> Swap:
        self._told = _Without.swap(self, blob=blob, **options)
        own = PeerBlob(peer_id="a", weight=weight, blob=blob)
        return Swap(contributions=(own,), epoch=0)


def test_who_comes_when_the_others_have_had_the_round_goes_on_with_theirs() -> None:
    recipe = RECIPES["sparseloco"]()
    brought = Member("a", recipe, _Alone(recipe)).begin("b").brought()
    assert (brought.agrees, brought.counts, brought.members) == (True, False, 2)


@pytest.mark.parametrize(("weight", "keeps_ours"), [(50.0, True), (150.0, False)])
def test_of_two_that_were_alone_both_take_the_same(weight: float, keeps_ours: bool) -> None:
    class Heavier(_Alone):
        def fetch(self, **options: Any) -> Swap:
            (other,) = super().fetch(**options).contributions
            told = replace(other, weight=weight)
            return Swap(contributions=(told,), epoch=0)

    recipe = RECIPES["sparseloco"]()
    assert Member("a", recipe, Heavier(recipe)).begin("b").brought().counts == keeps_ours


class _Nonsense(_Without):
    """A round whose outcome can't be read."""

    def swap(self, **_options: Any) -> Swap:
        other = PeerBlob(peer_id="b", weight=100.0, blob=b"nonsense")
        return Swap(contributions=(other,), epoch=0)


@pytest.mark.logs_error("a round failed")
def test_a_round_that_fails_by_a_defect_leaves_all_as_it_was() -> None:
    recipe = RECIPES["sparseloco"]()
    assert recipe.residual is not None
    with pytest.raises(ExchangeError, match="see the log"):
        Member("a", recipe, _Nonsense(recipe)).begin("b").brought()
    assert not any(bool(each.any()) for each in recipe.residual.state_dict()["residual"])
