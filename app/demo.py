"""The demo: a swarm on this machine alone, with a second peer that really trains."""

import asyncio
import contextlib
import logging
import secrets
import shutil
from functools import partial
from typing import Any

from app import protocol
from app.common.errors import TrainerError
from app.common.i18n import _
from app.common.subscription import Subscription
from app.session import Session
from app.spec import schema as spec
from app.spec.schema import SwarmSpec
from app.state.facts import DEMO_RUNS
from app.state.state import ContributorState
from app.training.supervisor import Trainer

log = logging.getLogger(__name__)

PARTNER = "partner"


def demo_spec() -> SwarmSpec:
    """A GPT-2 of 0.8 million parameters that learns bytes of Python's own documentation.

    Each demo is a new run, so that the user sees it learn from the start. The target batch size
    makes an epoch take some seconds on two cores.
    """
    return spec.parse(
        {
            "run_id": "demo-" + secrets.token_hex(4),
            "title": _("Demo: Python's documentation"),
            "local": True,
            "model_config": {
                "model_type": "gpt2",
                "n_layer": 4,
                "n_head": 4,
                "n_embd": 128,
                "n_positions": 128,
                "resid_pdrop": 0.0,
                "embd_pdrop": 0.0,
                "attn_pdrop": 0.0,
            },
            "training_params": {
                "target_batch_size": 512,
                "micro_batch_size": 8,
                "sequence_length": 128,
                "optimizer": {"name": "adamw", "learning_rate": 3e-3},
                # often, and on more of a text that is short
                "evaluation": {
                    "seconds": 0.75,
                    "share": 0.05,
                    "prompts": ["The ", "A list ", "Changed in version "],
                },
                "averaging": {
                    "compression": "float16",
                    "matchmaking_seconds": 2.0,
                    "timeout_seconds": 10.0,
                    "record_seconds": 20.0,
                },
            },
            "dataset_info": {"source": "builtin", "name": "python-docs"},
        }
    )


class DemoSwarm:
    """The session's peer opens the swarm; a partner, a trainer process of its own, trains in it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._partner: Trainer | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._looking = Subscription()

    async def start(self) -> bool:
        """Open the swarm and start the partner; False when the user left before it was open.

        Raises `JoinError`.
        """
        await self._forget_earlier_demos()
        if not await self._session.swarm.join(demo_spec(), remember=False):
            return False
        order = self._session.training.order(PARTNER) | {"device": "cpu", "threads": 1}
        self._partner = await Trainer.spawn(on_report=_log_milestones, name=PARTNER)
        self._starting = asyncio.create_task(self._start_partner(self._partner, order))
        self._looking = self._session.store.subscribe(partial(self._look, order["spec"]["run_id"]))
        return True

    def _look(self, run_id: str, state: ContributorState) -> None:
        """End the partner once its swarm is left, by the user or by a caller of the local API."""
        if state.swarm is None or state.swarm.run_id != run_id:
            self._looking.close()
            self._closing = asyncio.create_task(self.close())

    async def _start_partner(self, partner: Trainer, order: dict[str, Any]) -> None:
        with contextlib.suppress(TrainerError):
            await partner.command(protocol.Start, **order)

    async def _forget_earlier_demos(self) -> None:
        checkpoints = self._session.folders.checkpoints("demo").parent
        for folder in checkpoints.glob(DEMO_RUNS):
            shutil.rmtree(folder, ignore_errors=True)
        await self._session.curves.forget(DEMO_RUNS)

    async def close(self) -> None:
        """End the partner. May be called twice."""
        self._looking.close()
        if self._closing is not None and self._closing is not asyncio.current_task():
            await self._closing
        partner, self._partner = self._partner, None
        if partner is not None:
            await partner.stop(grace=5.0)
        if self._starting is not None:
            await self._starting


def _log_milestones(report: protocol.Report) -> None:
    match report:
        case protocol.RoundEnded(epoch=epoch, peers=peers, seconds=seconds, failure=failure):
            how = failure or f"{peers} peers"
            logging.getLogger(PARTNER).info("epoch %d averaged in %.2f s: %s", epoch, seconds, how)
        case protocol.TrainerProblem(message=message):
            logging.getLogger(PARTNER).error("%s", message)
