"""Writes this machine's figures in the text format of Prometheus."""

import time
from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__
from app.callback.host import FigureSource
from app.common.plain import one_line
from app.contributions.outbox import OutboxState
from app.machine.hardware import Gpu, Reading
from app.protocol import WarningTopic
from app.state.state import ContributorState, OwnTraining, Phase
from app.state.store import ReadableStore
from app.tasks.tasks import Tasks

MetricFigure = tuple[str, str, float | None]
"""Name without the prefix ``cotrain_``, help text, and value; a None is left out."""


class Metrics:
    """Collects the figures anew at each call; unknown values are left out."""

    def __init__(
        self,
        store: ReadableStore,
        *,
        tasks: Tasks | None = None,
        figures: FigureSource | None = None,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._figures = figures
        self._began = time.monotonic()

    async def exposition(self) -> bytes:
        """All figures in Prometheus's text format."""
        found = [_info(self._store), *_of_state(self._store.state), *self._of_app()]
        if self._figures is not None:
            found += _of_hardware(await self._figures.reading())
            found.append(_of_outbox(await self._figures.outbox()))
            found += _gauges(
                (
                    "contributions_forgotten",
                    "Contributions that the backend had confirmed and no longer knows.",
                    await self._figures.forgotten(),
                )
            )
        # A registry of our own: two sessions in a process would share the library's global one.
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Gathered(found))
        return generate_latest(registry)

    def _of_app(self) -> list[Metric]:
        active = self._tasks.active if self._tasks is not None else None
        progress = None if active is None else active.progress / 100
        return _gauges(
            ("up_seconds", "Since the app started.", time.monotonic() - self._began),
            ("task_progress_ratio", "Progress of the active task, 0 to 1.", progress),
        )


class _Gathered(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _gauges(*figures: MetricFigure) -> list[Metric]:
    return [
        GaugeMetricFamily(f"cotrain_{name}", text, value=value)
        for name, text, value in figures
        if value is not None
    ]


def _counters(*figures: MetricFigure) -> list[Metric]:
    return [
        CounterMetricFamily(f"cotrain_{name}", text, value=value)
        for name, text, value in figures
        if value is not None
    ]


# --- the state


def _info(store: ReadableStore) -> Metric:
    state, settings = store.state, store.settings
    labels = {
        "version": __version__,
        "run_id": state.swarm.run_id if state.swarm else "",
        "device": state.training.device if state.training else state.device,
        "alias": settings.alias,
        "lab": settings.lab,
    }
    info = GaugeMetricFamily(
        "cotrain_info", "Version, run and device of this app.", labels=tuple(labels)
    )
    info.add_metric(tuple(labels.values()), 1)
    return info


def _of_state(state: ContributorState) -> list[Metric]:
    return [
        _phases(state),
        *_problems(state),
        *_warnings(state),
        *_of_swarm(state),
        *_of_training(state),
        *_of_evaluation(state),
        _faults(state),
    ]


def _faults(state: ContributorState) -> Metric:
    faults = CounterMetricFamily(
        "cotrain_member_faults",
        "Faults of other members of averaging rounds since the swarm was joined.",
        labels=("fault",),
    )
    for fault, count in state.faults.totals:
        faults.add_metric((fault.value,), count)
    return faults


def _phases(state: ContributorState) -> Metric:
    phases = GaugeMetricFamily(
        "cotrain_phase", "1 for the current phase, else 0.", labels=("phase",)
    )
    for phase in Phase:
        phases.add_metric((phase.value,), float(phase is state.phase))
    return phases


def _problems(state: ContributorState) -> list[Metric]:
    if state.problem is None:
        return []
    problem = GaugeMetricFamily(
        "cotrain_problem", "1 while this problem persists.", labels=("field", "message")
    )
    told = (one_line(state.problem.field), one_line(state.problem.message))
    problem.add_metric(told, 1)
    return [problem]


def _warnings(state: ContributorState) -> list[Metric]:
    if state.training is None:
        return []
    warnings = GaugeMetricFamily(
        "cotrain_warning", "1 while this is wrong although training goes on.", labels=("topic",)
    )
    present = {warning.topic for warning in state.training.warnings}
    for topic in get_args(WarningTopic):
        warnings.add_metric((topic,), float(topic in present))
    return [warnings]


def _of_swarm(state: ContributorState) -> list[Metric]:
    own, run, swarm = state.training, state.run, state.swarm
    epoch = own.epoch if own and own.step else (run.epoch if run else None)
    return _gauges(
        ("peers", "Peers that the app is connected to.", len(state.peers)),
        ("dht_nodes", "Nodes of the DHT in the app's routing table.", state.dht_nodes),
        ("epoch", "Current epoch.", epoch),
        ("swarm_trainers", "Peers that train in the run.", run.trainers if run else None),
        ("swarm_samples", "Samples in the current epoch.", run.samples if run else None),
        (
            "swarm_target_samples",
            "Samples of a full epoch.",
            swarm.target_batch_size if swarm else None,
        ),
        ("swarm_loss", "Mean loss of the swarm's trainers.", run.loss if run else None),
        (
            "swarm_held_out_loss",
            "Mean loss of the swarm's trainers on held-out text.",
            run.held_out_loss if run else None,
        ),
        (
            "swarm_samples_per_second",
            "Samples per second of the swarm.",
            run.samples_per_second if run else None,
        ),
    )


def _of_training(state: ContributorState) -> list[Metric]:
    own = state.training
    if own is None:
        return []
    return [
        *_gauges(
            ("step", "Micro-batches since the trainer started.", own.step),
            ("loss", "Own loss: cross-entropy per token (nats).", own.loss),
            ("samples_per_second", "Own samples per second.", own.samples_per_second),
            ("tokens_per_second", "Own tokens per second.", own.tokens_per_second),
            ("own_steps", "Steps of this machine alone since its last exchange.", own.own_steps),
            (
                "computing_ratio",
                "Part of the time in which the swarm let this machine compute, 0 to 1.",
                own.computing,
            ),
        ),
        *_of_rounds(own),
        *_totals(own),
    ]


def _of_evaluation(state: ContributorState) -> list[Metric]:
    newest, best = state.evaluation, state.best_evaluation
    return _gauges(
        (
            "held_out_loss",
            "Loss on held-out text in the newest evaluation (nats per token).",
            newest.loss if newest else None,
        ),
        (
            "held_out_bits_per_byte",
            "The same in bits for each byte of the text.",
            newest.bits_per_byte if newest else None,
        ),
        ("evaluated_epoch", "Epoch of the newest evaluation.", newest.epoch if newest else None),
        (
            "best_held_out_loss",
            "Lowest loss on held-out text so far (nats per token).",
            best.loss if best else None,
        ),
    )


def _of_rounds(own: OwnTraining) -> list[Metric]:
    last = own.last_round
    return _gauges(
        ("round_peers", "Peers in the last averaging round.", last.peers if last else None),
        (
            "round_seconds",
            "Seconds that the last averaging round took.",
            last.seconds if last else None,
        ),
        (
            "round_sent_bytes",
            "Bytes sent in averaging rounds since the round before the last one.",
            last.bytes_sent if last else None,
        ),
        (
            "round_failed",
            "1 if the last averaging round failed.",
            bool(last.failure) if last else None,
        ),
        (
            "round_arrived",
            "Share of the average's parts that arrived in the last averaging round.",
            last.arrived if last else None,
        ),
        (
            "rounds_failed_in_a_row",
            "Averaging rounds that failed since the last one that succeeded.",
            own.failed_rounds,
        ),
    )


def _totals(own: OwnTraining) -> list[Metric]:
    """Since the trainer started."""
    return _counters(
        ("samples", "Samples computed since the trainer started.", own.samples),
        ("tokens", "Tokens computed since the trainer started.", own.tokens),
        ("compute_seconds", "Seconds of computing since the trainer started.", own.compute_seconds),
        ("sent_bytes", "Bytes sent to other peers since the trainer started.", own.bytes_sent),
        (
            "received_bytes",
            "Bytes received from other peers since the trainer started.",
            own.bytes_received,
        ),
        ("training_seconds", "Seconds of training, without pauses.", own.training_seconds),
        (
            "waiting_seconds",
            "Seconds of training that rounds, outer steps and downloads of the state blocked.",
            own.waiting_seconds,
        ),
    )


# --- the machine


def _of_hardware(reading: Reading) -> list[Metric]:
    return [
        *_gauges(
            ("cpu_use_ratio", "Use of all CPU cores, 0 to 1.", reading.cpu.use),
            ("memory_bytes", "Memory of the machine.", reading.cpu.memory),
            ("memory_used_bytes", "Memory in use.", reading.cpu.memory_used),
        ),
        *_of_gpus(reading.gpus),
    ]


_GPU_FIGURES = {
    "use_ratio": ("Use of the GPU, 0 to 1.", "use"),
    "memory_bytes": ("Memory of the GPU.", "memory"),
    "memory_used_bytes": ("Memory of the GPU in use.", "memory_used"),
    "temperature_celsius": ("Temperature of the GPU.", "temperature"),
    "power_watts": ("Power that the GPU draws.", "power"),
}


def _of_gpus(gpus: Iterable[Gpu]) -> list[Metric]:
    found: list[Metric] = []
    for name, (text, field) in _GPU_FIGURES.items():
        family = GaugeMetricFamily(f"cotrain_gpu_{name}", text, labels=("gpu", "name"))
        for gpu in gpus:
            value = getattr(gpu, field)
            if value is not None:
                family.add_metric((str(gpu.index), gpu.name), value)
        found.append(family)
    return [family for family in found if family.samples]


def _of_outbox(counts: Mapping[OutboxState, int]) -> Metric:
    outbox = GaugeMetricFamily(
        "cotrain_contributions", "Contributions of this machine by state.", labels=("state",)
    )
    for state, count in counts.items():
        outbox.add_metric((state.value,), count)
    return outbox
