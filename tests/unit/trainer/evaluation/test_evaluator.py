"""When the swarm's weights are evaluated, and what is told of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from app.evaluation_messages import MOST_PROMPT_CHARACTERS, Evaluated, SampleGenerated
from app.protocol import Report
from app.spec.evaluation import MOST_PROMPTS, EvaluationSpec
from app.state.reported import MOST_SAMPLES
from app.trainer.data.held_out import HeldOut
from app.trainer.data.prompts import encoded_prompts
from app.trainer.data.tokenizer import ByteTokens
from app.trainer.evaluation import evaluator as module
from app.trainer.evaluation.evaluator import MOST_TIME_EVALUATING, Evaluator
from tests.support.training.models import built, spec_of

TOKENS = np.frombuffer(b"the quick brown fox jumps over the lazy dog. " * 4, dtype=np.uint8)


class SwarmOf:
    """What an evaluator uses of a strategy: the swarm's weights are all zero."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.epoch = 0
        self.model = model

    @contextmanager
    def swarm_weights(self) -> Iterator[None]:
        own = {name: value.clone() for name, value in self.model.state_dict().items()}
        for parameter in self.model.parameters():
            torch.nn.init.zeros_(parameter)
        yield
        self.model.load_state_dict(own)


class Case:
    def __init__(self, **evaluation: Any) -> None:
        self.reports: list[Report] = []
        self.model = built(spec_of())
        self.strategy: Any = SwarmOf(self.model)
        spec = spec_of(training={"evaluation": {"seconds": 60.0} | evaluation}).training
        prompts = encoded_prompts(spec.evaluation.prompts, tokenizer=ByteTokens())
        self.evaluator = Evaluator(
            spec,
            held_out=HeldOut(tokens=TOKENS, tokenizer=ByteTokens(), prompts=prompts),
            model=self.model,
            strategy=self.strategy,
            context=nullcontext,
            send=self.reports.append,
            stopping=lambda: False,
        )

    def epoch(self, number: int, *, due: bool = True) -> float:
        """An epoch begins; returns the seconds that evaluating took."""
        self.strategy.epoch = number
        if due:
            self.evaluator._due_at = 0.0
        return self.evaluator.evaluate(batch_size=4)

    @property
    def evaluated(self) -> list[int]:
        return [each.epoch for each in self.reports if isinstance(each, Evaluated)]


def test_it_tells_the_loss_of_the_swarms_weights_and_what_they_write() -> None:
    case = Case(prompts=["the", "fox"])
    assert case.epoch(1) > 0
    (told, *samples) = case.reports
    assert isinstance(told, Evaluated)
    assert told == case.evaluator.newest
    assert told.bits_per_byte == pytest.approx(8.0)  # zeros know nothing of a byte
    assert told.tokens == 16 * ((len(TOKENS) - 1) // 16)
    assert [(each.epoch, each.prompt) for each in samples if isinstance(each, SampleGenerated)] == [
        (1, "the"),
        (1, "fox"),
    ]


def test_the_model_is_as_it_was() -> None:
    case = Case(prompts=[])
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    case.epoch(1)
    assert case.model.training
    assert all(torch.equal(before[name], value) for name, value in case.model.state_dict().items())


def test_it_evaluates_every_few_epochs_also_where_one_is_missed() -> None:
    case = Case(every_epochs=10, prompts=[])
    for number in (1, 9, 10, 11, 19, 23, 29, 30):
        case.epoch(number)
    assert case.evaluated == [10, 23, 30]


def test_it_takes_only_a_small_share_of_the_time() -> None:
    case = Case(prompts=[])
    began = time.monotonic()
    seconds = case.epoch(1)
    assert case.evaluator._due_at >= began + seconds / MOST_TIME_EVALUATING
    case.evaluator._due_at += 3600.0  # or a busy machine would take as long until the next line
    assert case.epoch(2, due=False) == 0.0


def test_evaluations_without_a_better_one_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(prompts=[])
    counted = []
    for number, loss in enumerate((3.0, 2.0, 1.9999, float("nan"), 1.9), start=1):
        monkeypatch.setattr(module.HeldOutMeasure, "of", lambda *_, loss=loss, **__: found(loss))
        case.epoch(number)
        counted.append(case.evaluator.unimproved)
    assert counted == [0, 0, 1, 2, 0]
    assert case.evaluated == [1, 2, 3, 5]  # nothing is told that is no number


def test_the_loss_of_less_text_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(prompts=[])
    results = [found(2.0), found(2.1), found(3.0, tokens=32), found(3.1, tokens=32)]
    counted = []
    for number, result in enumerate(results, start=1):
        monkeypatch.setattr(module.HeldOutMeasure, "of", lambda *_, it=result, **__: it)
        case.epoch(number)
        counted.append(case.evaluator.unimproved)
    assert counted == [0, 1, 0, 1]


def found(loss: float, *, tokens: int = 64) -> Any:
    return module.Measured(loss=loss, bits_per_byte=loss, tokens=tokens)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
    ids=["gpu", "cpu"],
)
def test_memory_that_runs_out_costs_an_evaluation_and_no_training(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    case = Case(prompts=[])
    sizes: list[int] = []

    def of(_measure: Any, _model: Any, *, batch_size: int) -> Any:
        sizes.append(batch_size)
        if batch_size > 1:
            raise error
        return found(2.0)

    monkeypatch.setattr(module.HeldOutMeasure, "of", of)
    for number in range(1, 4):
        case.epoch(number)
    assert sizes == [4, 2, 1]
    assert case.evaluated == [3]
    assert case.model.training


def test_the_bounds_of_spec_and_protocol_agree() -> None:
    longest = "x" * MOST_PROMPT_CHARACTERS
    assert EvaluationSpec(prompts=(longest,) * MOST_PROMPTS).prompts[0] == longest
    assert MOST_SAMPLES >= 50 * MOST_PROMPTS
