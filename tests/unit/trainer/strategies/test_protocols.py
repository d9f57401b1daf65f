"""The two protocols of strategies are true: their holders use all of each, and nothing beside."""

import ast
import inspect
from pathlib import Path

import pytest

from app.trainer.strategies.gradient_averaging import GradientAveraging
from app.trainer.strategies.local_steps import LocalSteps
from app.trainer.strategies.protocols import Strategy, SwarmMember

TRAINER = Path(__file__).resolve().parents[4] / "app" / "trainer"
HOLDERS: dict[type, tuple[str, ...]] = {
    Strategy: ("loop.py", "run.py"),
    SwarmMember: ("assembly.py", "evaluation/evaluator.py", "keeper.py", "reporter.py"),
}
each_protocol = pytest.mark.parametrize("protocol", HOLDERS, ids=lambda each: each.__name__)


def members(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def used_of_strategy(module: str) -> set[str]:
    """The attributes of whatever a module calls ``strategy`` or ``…._strategy``."""
    tree = ast.parse((TRAINER / module).read_text(encoding="utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value).rpartition(".")[2].lstrip("_") == "strategy"
    }


@each_protocol
def test_holders_use_all_of_it_and_nothing_beside(protocol: type) -> None:
    used = set().union(*map(used_of_strategy, HOLDERS[protocol]))
    assert used == members(protocol)


def attributes(strategy: type) -> set[str]:
    """Of its class, and those that its constructor sets."""
    tree = ast.parse(inspect.getsource(strategy))
    return vars(strategy).keys() | {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


@each_protocol
@pytest.mark.parametrize("strategy", [GradientAveraging, LocalSteps])
def test_each_strategy_has_all_of_it(strategy: type, protocol: type) -> None:
    assert members(protocol) <= attributes(strategy)


def test_nobody_else_holds_a_strategy() -> None:
    modules = {str(path.relative_to(TRAINER)) for path in TRAINER.rglob("*.py")}
    holders = {module for module in modules if used_of_strategy(module)}
    assert holders == {module for each in HOLDERS.values() for module in each}
