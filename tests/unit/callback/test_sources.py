"""What the API and Prometheus are shown of this machine and of the swarm's machines."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import protocol
from app.callback.metrics import Metrics
from app.callback.sources import FORGOTTEN, OwnFigures, sources_of
from app.common.signing import MachineKey, canonical, from_text, verify
from app.contributions import recall
from app.contributions.ledger import Ledger
from app.contributions.outbox import Outbox
from app.machine.hardware import Cpu, Gpu, Reading
from app.machine.question import Question
from app.p2p.sightings import PartFault, Run
from app.state.events import JoinBegan, ProblemRaised, RunObserved, TrainingRequested
from app.state.facts import Problem, Swarm
from tests.support.machine.machines import RecordedProbe, record
from tests.support.processes.sessions import OfflineSession
from tests.support.training.works import NOON, contribution

DASHBOARD = Path(__file__).parents[3] / "packaging" / "grafana" / "cotrain.json"
GPU = Gpu(
    index=0,
    uuid="GPU-1",
    name="RTX 4090",
    use=0.9,
    memory=24,
    memory_used=18,
    temperature=64.0,
    power=200.0,
)
READING = Reading(
    cpu=Cpu(use=0.25, memory=64, memory_used=16),
    gpus=(GPU, Gpu(index=1, uuid="GPU-2", name="T4")),
)
SWARM = Swarm(run_id="run", title="", model_type="gpt2", dataset="", target_batch_size=256)


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[OfflineSession]:
    """A session with hardware and an empty ledger, that trains."""
    made = OfflineSession(tmp_path, alias="lab-01", lab="vision-lab")
    made.machines._hardware = Question(RecordedProbe([READING]).read)
    await made.contributions.open()
    made.store.dispatch(JoinBegan(swarm=SWARM))
    made.store.dispatch(TrainingRequested(device="cuda:0"))
    made.store.dispatch(RunObserved(run=Run(trainers=2, loss=2.75, samples_per_second=400.0)))
    made.trainer_reports(epoch=2, samples=128)
    made.store.dispatch(
        protocol.RoundEnded(epoch=1, peers=3, seconds=2.5, samples=80, failure="no group")
    )
    made.store.dispatch(ProblemRaised(problem=Problem(message="is wrong.", field="seed")))
    yield made
    await made.close()


async def exposed(session: OfflineSession) -> dict[str, dict[str, float]]:
    """The shown metrics: values by name, then by the labels' values."""
    figures = OwnFigures(session.contributions.ledger, session.machines)
    text = (await Metrics(session.store, figures=figures).exposition()).decode()
    told: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            told.setdefault(sample.name, {})[" ".join(sample.labels.values())] = sample.value
    return told


async def test_metrics_tell_what_the_machines_page_shows_of_this_machine(
    session: OfflineSession,
) -> None:
    told = await exposed(session)
    assert told["cotrain_samples_per_second"] == {"": 80}
    assert told["cotrain_tokens_per_second"] == {"": 5120}
    assert (told["cotrain_loss"], told["cotrain_epoch"]) == ({"": 2.5}, {"": 2})
    assert told["cotrain_gpu_use_ratio"] == {"0 RTX 4090": 0.9}
    assert told["cotrain_gpu_memory_used_bytes"] == {"0 RTX 4090": 18}
    assert told["cotrain_gpu_temperature_celsius"] == {"0 RTX 4090": 64}
    assert told["cotrain_gpu_power_watts"] == {"0 RTX 4090": 200}
    assert (told["cotrain_cpu_use_ratio"], told["cotrain_memory_bytes"]) == ({"": 0.25}, {"": 64})
    assert told["cotrain_problem"] == {"seed is wrong.": 1}
    assert told["cotrain_up_seconds"][""] >= 0
    states = ("waiting", "sending", "confirmed", "refused", "local")
    assert told["cotrain_contributions"] == dict.fromkeys(states, 0)
    assert (told["cotrain_round_seconds"], told["cotrain_round_failed"]) == ({"": 2.5}, {"": 1})
    assert told["cotrain_member_faults_total"] == dict.fromkeys(map(str, PartFault), 0)
    (info,) = told["cotrain_info"]
    assert {"run", "cuda:0", "lab-01", "vision-lab"} <= set(info.split())


async def test_dashboard_asks_for_nothing_that_is_not_told(session: OfflineSession) -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    variables = [each.get("definition", "") for each in board["templating"]["list"]]
    asked = re.findall(r"cotrain_\w+", " ".join([*(each["expr"] for each in targets), *variables]))
    assert len(targets) > 20
    assert set(asked) <= set(await exposed(session))


async def test_machines_of_the_swarm_as_json(session: OfflineSession) -> None:
    session.machines.fleet.take({"key": record(time=time.time(), temperature=91.0)}, time.time())
    source = sources_of(
        session.store, ledger=session.contributions.ledger, machines=session.machines
    ).machines
    assert source is not None
    (told,) = json.loads(await source.machines())
    assert (told["public_key"], told["alias"], told["lab"]) == ("key", "lab-01", "vision-lab")
    assert (told["samples_per_second"], told["warnings"]) == (102.0, ["hot"])
    assert datetime.fromisoformat(told["last_seen"]).tzinfo is not None
    assert "sequence" not in told


async def test_contributions_can_be_checked_by_who_reads_them(tmp_path: Path) -> None:
    session = OfflineSession(tmp_path / "data")
    key = MachineKey.load_or_create(session.folders.machine_key_file)
    await session.contributions.open()
    ledger = session.contributions.ledger
    for number in (1, 2, 3):
        await ledger.run(Ledger.add, contribution(number).signed(key))
    await ledger.outbox.run(Outbox.refuse, contribution(3).id, NOON, "no such session")
    source = sources_of(
        session.store, ledger=session.contributions.ledger, machines=session.machines
    ).contributions
    assert source is not None
    await ledger.outbox.run(Outbox.begin_sending, contribution(2).id, NOON)
    await ledger.outbox.run(Outbox.confirm, contribution(2).id, NOON, "http")
    await ledger.outbox.run(recall.mark_forgotten, [contribution(2).id], NOON)
    newest, second = await source.contributions(limit=2)
    reporting = await source.reporting()
    told = await exposed(session)
    await session.close()
    assert (reporting["status"], reporting["forgotten"]) == ("off", 1)
    assert told["cotrain_contributions_forgotten"] == {"": 1}
    (fate,) = reporting["swarms"].values()
    assert (fate["session_id"], fate["reported_to"]) == (contribution(3).session_id, None)
    assert "has refused a contribution to this swarm: no such session" in fate["why_not"]
    shown = json.loads(json.dumps(newest))
    names = ("state", "remark", "attempts", "score", "backend", "forgotten")
    assert {name: shown.pop(name) for name in names} == {
        "state": "refused",
        "remark": "no such session",
        "attempts": 0,
        "score": contribution(3).score,
        "backend": "http://backend:3001",
        "forgotten": False,
    }
    assert second["id"] == contribution(2).id
    assert (second["state"], second["remark"]) == ("confirmed", FORGOTTEN)
    assert second["forgotten"]
    signature = from_text(shown.pop("signature"))
    assert shown["computeTime"] == contribution(3).compute_time
    assert await asyncio.to_thread(verify, shown["publicKey"], canonical(shown), signature)
