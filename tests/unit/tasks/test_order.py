"""What an order means, and what is added to it."""

from pathlib import Path
from typing import Any

import pytest

from app.common.errors import SpecError
from app.tasks.order import Order, interpret
from tests.support.processes.sessions import train_body
from tests.support.training.specs import BEGINS, LLAMA


def order(*, caller: str = "127.0.0.1", extra: dict[str, Any] | None = None, **parts: Any) -> Order:
    return Order(caller=caller, extra=extra or {}, **train_body(**parts))


def test_spec_is_what_was_given() -> None:
    meaning = interpret(order())
    assert meaning.spec.model.model_type == "gpt2"
    assert meaning.spec.training.target_batch_size == 256
    assert meaning.spec.training.stop.epochs == 4
    assert meaning.spec.data.source == "builtin"
    assert meaning.spec.name == "Task 42"
    assert meaning.assumed == ()


def test_what_is_assumed_is_said() -> None:
    meaning = interpret(order(training_params={}))
    assert meaning.spec.training.target_batch_size == 256
    assert meaning.spec.training.sequence_length == 128
    assert len(meaning.assumed) == 3
    assert "target_batch_size is not given: using 256" in meaning.assumed[0]
    assert "training_params.stop is not given" in meaning.assumed[2]


def test_names_of_the_web_page_are_understood_and_said() -> None:
    params = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "optimizer": {"name": "sgd"}}
    meaning = interpret(order(training_params=params))
    training = meaning.spec.training
    assert (training.stop.epochs, training.micro_batch_size) == (3, 8)
    assert (training.optimizer.name, training.optimizer.learning_rate) == ("sgd", 0.01)
    assert "training_params.epochs is taken as training_params.stop.epochs" in meaning.assumed
    assert sum("is taken as" in line for line in meaning.assumed) == 3
    assert not any("stop is not given" in line for line in meaning.assumed)


def test_weights_to_begin_with_may_stand_in_the_models_part() -> None:
    inside = interpret(order(model_config=LLAMA | {"pretrained": BEGINS}))
    beside = interpret(order(model_config=LLAMA, extra={"pretrained": BEGINS}))
    assert inside.spec.pretrained == beside.spec.pretrained
    assert inside.spec.pretrained is not None
    assert inside.spec.model == beside.spec.model
    assert inside.assumed == ("model_config.pretrained is taken as pretrained",)
    assert beside.assumed == ()


def test_tasks_with_other_weights_meet_in_other_runs() -> None:
    other = BEGINS | {"revision": "b" * 40}
    orders = [
        order(model_config=LLAMA),
        order(model_config=LLAMA, extra={"pretrained": BEGINS}),
        order(model_config=LLAMA, extra={"pretrained": other}),
    ]
    assert len({interpret(each).spec.run_id for each in orders}) == 3


def test_weights_are_not_named_twice() -> None:
    twice = order(model_config=LLAMA | {"pretrained": BEGINS}, extra={"pretrained": BEGINS})
    with pytest.raises(SpecError, match="'pretrained' stands beside model_config"):
        interpret(twice)


@pytest.mark.parametrize(
    "params",
    [
        {"epochs": 3, "stop": {"epochs": 2}},
        {"epochs": 3, "stop": "never"},
        {"batch_size": 3, "micro_batch_size": 2},
        {"learning_rate": 1e-3, "optimizer": {"learning_rate": 1e-4}},
        {"epochs": -1},
        {"learning_rate": "much"},
    ],
)
def test_a_name_of_the_web_page_beside_our_own_or_a_wrong_value_is_refused(
    params: dict[str, Any],
) -> None:
    with pytest.raises(SpecError):
        interpret(order(training_params=params))


def test_a_wrong_value_is_named_as_the_caller_has_called_it() -> None:
    params = {"epochs": -1, "batch_size": 0, "optimizer": {"learning_rate": "much"}}
    with pytest.raises(SpecError) as caught:
        interpret(order(training_params=params))
    assert {each.field for each in caught.value.all} == {
        "training_params.epochs",
        "training_params.batch_size",
        "training_params.optimizer.learning_rate",
    }
    with pytest.raises(SpecError) as caught:
        interpret(order(training_params={"batch_size": 3, "micro_batch_size": 0}))
    assert {each.field for each in caught.value.all} == {
        "training_params.batch_size",
        "training_params.micro_batch_size",
    }


@pytest.mark.parametrize("name", ["n_positions", "max_position_embeddings"])
def test_sequences_fit_the_model(name: str) -> None:
    meaning = interpret(order(model_config={"model_type": "gpt2", name: 32}, training_params={}))
    assert meaning.spec.training.sequence_length == 32


@pytest.mark.parametrize("part", ["model_config", "dataset_info"])
def test_model_and_data_are_never_guessed(part: str) -> None:
    with pytest.raises(SpecError) as caught:
        interpret(order(**{part: {}}))
    assert caught.value.field.startswith(part)


def test_same_task_is_the_same_run_on_every_machine() -> None:
    one, other = interpret(order()), interpret(order(caller="10.0.0.7", user_id="bob"))
    assert one.spec.run_id == other.spec.run_id
    assert interpret(order(task_id="43")).spec.run_id != one.spec.run_id
    assert interpret(order(training_params={"seed": 1})).spec.run_id != one.spec.run_id


def test_caller_can_name_the_run() -> None:
    meaning = interpret(order(extra={"run_id": "ours", "title": "Ours", "local": True}))
    assert (meaning.spec.run_id, meaning.spec.name, meaning.spec.local) == ("ours", "Ours", True)


def test_files_that_it_would_read_are_known() -> None:
    chosen = {"corpus": Path("/a.txt"), "words": Path("/t.json"), "other": Path("/o")}
    tokenizer = {"kind": "slot", "label": "words"}
    data = {"source": "slot", "label": "corpus", "tokenizer": tokenizer}
    found = interpret(order(dataset_info=data), files_of=lambda _run_id: chosen)
    assert found.files == ("/a.txt", "/t.json")
    assert interpret(order()).files == ()


def test_slot_that_nobody_has_filled_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        interpret(order(dataset_info={"source": "slot", "label": "corpus"}))
    assert caught.value.field == "dataset_info.label"
    assert "--data corpus=PATH" in caught.value.remedy


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"source": "files", "paths": ["~/diary.txt"]}, "dataset_info.paths"),
        (
            {"source": "builtin", "tokenizer": {"kind": "file", "path": "/dev/zero"}},
            "dataset_info.tokenizer.path",
        ),
    ],
)
def test_caller_names_no_files_of_this_machine(data: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        interpret(order(dataset_info=data))
    assert caught.value.field == field
