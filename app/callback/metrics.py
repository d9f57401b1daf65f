"""The state's figures for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__
from app.callback.host import Host
from app.state import ContributorState, Phase
from app.tasks import Tasks


class StateCollector(Collector):
    """Reads the state whenever it is asked; what isn't known is left out."""

    def __init__(self, host: Host, tasks: Tasks) -> None:
        self._host = host
        self._tasks = tasks

    def collect(self) -> Iterator[Metric]:
        """All figures there are."""
        state = self._host.state
        yield _info(state)
        yield _phases(state)
        for name, text, value in (*_gauges(state), *self._task_gauges()):
            if value is not None:
                yield GaugeMetricFamily(f"cotrain_{name}", text, value=value)
        for name, text, value in _counters(state):
            if value is not None:
                yield CounterMetricFamily(f"cotrain_{name}", text, value=value)

    def _task_gauges(self) -> tuple["Figure", ...]:
        active = self._tasks.active
        progress = None if active is None else active.progress / 100
        return (("task_progress_ratio", "Progress of the task from outside.", progress),)


Figure = tuple[str, str, float | None]


def registry_of(host: Host, tasks: Tasks) -> CollectorRegistry:
    """A registry of our own: the library's global one belongs to nobody."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StateCollector(host, tasks))
    return registry


def _info(state: ContributorState) -> Metric:
    info = GaugeMetricFamily(
        "cotrain_info", "What runs here.", labels=("version", "run_id", "device")
    )
    run_id = state.swarm.run_id if state.swarm else ""
    device = state.training.device if state.training else state.device
    info.add_metric((__version__, run_id, device), 1)
    return info


def _phases(state: ContributorState) -> Metric:
    phases = GaugeMetricFamily("cotrain_phase", "1 for the phase we are in.", labels=("phase",))
    for phase in Phase:
        phases.add_metric((phase.value,), float(phase is state.phase))
    return phases


def _gauges(state: ContributorState) -> tuple[Figure, ...]:
    own, run = state.training, state.run
    epoch = own.epoch if own and own.step else (run.epoch if run else None)
    return (
        ("peers", "Peers that the app is connected to.", len(state.peers)),
        ("epoch", "Epoch under way.", epoch),
        ("step", "Micro-batches since the trainer started.", own.step if own else None),
        ("loss", "Own loss: cross-entropy per token (nats).", own.loss if own else None),
        ("samples_per_second", "Own rate.", own.samples_per_second if own else None),
        ("tokens_per_second", "Own rate.", own.tokens_per_second if own else None),
        ("swarm_trainers", "Peers that train in the run.", run.trainers if run else None),
        ("swarm_loss", "Mean loss of the swarm's trainers.", run.loss if run else None),
        (
            "swarm_samples_per_second",
            "Rate of the swarm.",
            run.samples_per_second if run else None,
        ),
    )


def _counters(state: ContributorState) -> tuple[Figure, ...]:
    own = state.training
    if own is None:
        return ()
    return (
        ("samples", "Samples computed since the trainer started.", own.samples),
        ("tokens", "Tokens computed since the trainer started.", own.tokens),
        ("compute_seconds", "Seconds of computing since the trainer started.", own.compute_seconds),
    )
