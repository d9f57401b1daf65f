"""What this machine achieved in a run: from the ledger, the run's curves and its spec."""

import math
import time
from dataclasses import dataclass

from app.contributions.accounting import share
from app.contributions.ledger import LedgerTotals
from app.contributions.summary import Summary
from app.curves.loss_change import LossChange, loss_change
from app.session import Session
from app.state.history import History


@dataclass(frozen=True, kw_only=True)
class Achievement:
    """This machine's part in a run."""

    run_id: str

    title: str
    """The swarm's, or its run id if that isn't known."""

    totals: LedgerTotals
    """Of this machine's contributions to the run."""

    run_share: float | None
    """This machine's part of all samples that the run was trained on, 0 to 1; None if unknown."""

    loss: LossChange | None
    """From this machine's first contribution to its last one; None where too little is known."""


async def achievement_of(session: Session, summary: Summary, run_id: str) -> Achievement | None:
    """What this machine achieved in a run; None if none of its samples entered a round."""
    totals = summary.swarms.get(run_id)
    if totals is None or not totals.samples or totals.began is None or totals.ended is None:
        return None
    history = await session.curves.history_of(run_id)
    title, batch = (await runs_by_id(session)).get(run_id, (run_id, 0))
    of_a_round = totals.swarm_samples / totals.epochs if totals.epochs else 0.0
    # rounds may take in more than a batch: those that we took part in say how much
    everybody = _epochs(session, history, run_id) * max(batch, of_a_round) if batch else 0.0
    return Achievement(
        run_id=run_id,
        title=title,
        totals=totals,
        run_share=share(totals.samples, round(everybody)),
        loss=loss_change(history, since=totals.began, until=totals.ended, now=time.time()),
    )


def run_to_tell_of(session: Session, summary: Summary) -> str:
    """The run that we are in, if this machine has given to it; else the one it gave to last."""
    swarm = session.store.state.swarm
    if swarm is not None and swarm.run_id in summary.swarms:
        return swarm.run_id
    return next(iter(summary.swarms), "")


async def runs_by_id(session: Session) -> dict[str, tuple[str, int]]:
    """The titles of the runs that are remembered, and the samples of their epochs, by run id."""
    specs = [recent.spec for recent in await session.recents.load()]
    found = {spec.run_id: (spec.name, spec.training.target_batch_size) for spec in specs}
    swarm = session.store.state.swarm
    here = {} if swarm is None else {swarm.run_id: (swarm.title, swarm.target_batch_size)}
    return found | here


def _epochs(session: Session, history: History, run_id: str) -> float:
    """How far the run is, or was when it was seen last; 0.0 where that isn't known."""
    state = session.store.state
    if state.swarm is not None and state.swarm.run_id == run_id and state.run is not None:
        run, batch = state.run, state.swarm.target_batch_size
        return run.epoch + (min(run.samples / batch, 1.0) if batch else 0.0)
    _times, epochs = history.swarm_epoch.since(0.0, time.time())
    return max((epoch for epoch in epochs if math.isfinite(epoch)), default=0.0)
