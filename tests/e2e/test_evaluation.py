"""What a real app tells of the swarm's weights, and a run that ends since it learns no more."""

import pytest

from tests.support.processes.apps import StartApp, lone_spec, training

pytestmark = [pytest.mark.e2e]


@pytest.mark.slow
async def test_evaluations_are_told_and_end_a_run_that_learns_nothing(start_app: StartApp) -> None:
    params = training(
        target_batch_size=512,
        optimizer={"name": "adamw", "learning_rate": 1e-9},
        evaluation={"seconds": 0.05, "share": 0.05, "prompts": ["The"]},
        stop={"unimproved_evaluations": 6},  # time enough to read what the swarm's trainers say
    )
    app = await start_app(spec=lone_spec(training_params=params))
    told = await app.wait_for(lambda line: line["evaluation"] is not None)
    assert 7 < told["evaluation"]["bits_per_byte"] < 9  # it guesses
    await app.wait_for(lambda line: line["sample"] is not None)
    shared = await app.wait_for(lambda line: line["swarm_held_out_loss"] is not None)
    assert shared["swarm_held_out_loss"] == pytest.approx(told["evaluation"]["loss"], rel=0.05)
    ended = await app.wait_for(
        lambda line: line["phase"] == "watching" and line["evaluation"] is not None
    )
    assert ended["evaluation"]["epoch"] > told["evaluation"]["epoch"]
    assert ended["sample"]["prompt"] == "The"
