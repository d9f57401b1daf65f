"""What the page shows of the state, as JSON. Times are seconds since the epoch."""

import time
from dataclasses import asdict
from typing import Any

from app import __version__
from app.callback.node import status_of
from app.common.plain import one_line
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState, OwnTraining, Round

MOST_ADDRESSES = 8


def snapshot(state: ContributorState, *, alias: str, steered: bool) -> dict[str, Any]:
    """The state, without peers and machines, whose number has no bound.

    alias: of this machine, "" without one. steered: the page can start and stop.
    """
    return {
        "time": time.time(),
        "version": __version__,
        "name": one_line(alias),
        "status": status_of(state),
        "phase": state.phase.value,
        "problem": _problem(state.problem),
        "swarm": _swarm(state.swarm),
        "peer_id": state.peer_id,
        "addresses": list(state.addresses[:MOST_ADDRESSES]),
        "connected_peers": len(state.peers),
        "dht_size": len(state.peers) + 1,
        "dht_nodes": state.dht_nodes,
        "run": _run(state),
        "training": _training(state.training),
        "held_out_loss": state.evaluation.loss if state.evaluation else None,
        "best_held_out_loss": state.best_evaluation.loss if state.best_evaluation else None,
        "device": state.device,
        "completed": state.completed,
        "paused_by_user": state.paused_by_user,
        "reasons": [one_line(reason.text) for reason in state.verdict.reasons],
        "restart_at": state.restart_at,
        "reconnect_at": state.reconnect_at,
        "admitted": state.access.admitted,
        "steered": steered,
        "trains_or_will": state.trains_or_will,
    }


def _problem(problem: Problem | None) -> dict[str, str] | None:
    if problem is None:
        return None
    return {name: one_line(text) for name, text in asdict(problem).items()}


def _swarm(swarm: Swarm | None) -> dict[str, Any] | None:
    if swarm is None:
        return None
    return {
        "run_id": one_line(swarm.run_id),
        "title": one_line(swarm.title),
        "model_type": one_line(swarm.model_type),
        "dataset": one_line(swarm.dataset),
        "target_batch_size": swarm.target_batch_size,
    }


def _run(state: ContributorState) -> dict[str, Any] | None:
    run = state.run
    if run is None:
        return None
    return {
        "epoch": run.epoch,
        "samples": run.samples,
        "trainers": run.trainers,
        "samples_per_second": run.samples_per_second,
        "loss": run.loss,
        "held_out_loss": run.held_out_loss,
        "eta": run.eta,
    }


def _training(own: OwnTraining | None) -> dict[str, Any] | None:
    if own is None:
        return None
    return {
        "device": one_line(own.device_name or own.device),
        "parameters": own.parameters,
        "micro_batch_size": own.micro_batch_size,
        "epoch": own.epoch,
        "step": own.step,
        "loss": own.loss,
        "samples_per_second": own.samples_per_second,
        "tokens_per_second": own.tokens_per_second,
        "samples": own.samples,
        "tokens": own.tokens,
        "epoch_samples": own.epoch_samples,
        "computing": own.computing,
        "bytes_sent": own.bytes_sent,
        "bytes_received": own.bytes_received,
        "training_seconds": own.training_seconds,
        "last_round": _round(own.last_round),
        "warnings": [one_line(warning.text) for warning in own.warnings],
    }


def _round(last: Round | None) -> dict[str, Any] | None:
    if last is None:
        return None
    return {"peers": last.peers, "seconds": last.seconds, "failure": one_line(last.failure)}
