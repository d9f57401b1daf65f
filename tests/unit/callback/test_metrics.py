"""Prometheus reads what others wrote as values of labels, and as nothing else."""

from prometheus_client.parser import text_string_to_metric_families

from app.callback.metrics import Metrics
from app.settings.settings import Settings
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState
from app.state.store import Store

HOSTILE = 'a"} 1\nforged_metric{x="\\" \x1b[31m ' + "x" * 10_000


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
