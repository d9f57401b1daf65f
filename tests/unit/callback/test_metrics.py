"""Prometheus reads what others wrote as values of labels, and as nothing else."""

from prometheus_client.parser import text_string_to_metric_families

from app.callback.metrics import Metrics
from app.settings.settings import Settings
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState, OwnTraining
from app.state.store import Store

HOSTILE = 'a"} 1\nforged_metric{x="\\" \x1b[31m ' + "x" * 10_000


async def test_bytes_and_time_computing_are_told() -> None:
    own = OwnTraining(
        device="cpu", bytes_sent=7, own_steps=3, training_seconds=100.0, waiting_seconds=5.0
    )
    store = Store(settings=Settings(), state=ContributorState(training=own))
    text = (await Metrics(store).exposition()).decode()
    told = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert told["cotrain_sent_bytes_total"] == 7
    assert told["cotrain_waiting_seconds_total"] == 5
    assert told["cotrain_computing_ratio"] == 0.95
    assert told["cotrain_own_steps"] == 3


async def test_hostile_texts_stay_in_their_labels() -> None:
    swarm = Swarm(
        run_id=HOSTILE, title="", model_type="gpt2", dataset="builtin", target_batch_size=1
    )
    problem = Problem(field=HOSTILE, message=HOSTILE)
    store = Store(settings=Settings(), state=ContributorState(swarm=swarm, problem=problem))
    text = (await Metrics(store).exposition()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(name.startswith("cotrain_") for name in families)
    (sample,) = families["cotrain_problem"].samples
    assert sample.labels["message"].startswith('a"} 1 forged_metric{x="\\" \ufffd[31m')
    assert len(sample.labels["message"]) == 500
