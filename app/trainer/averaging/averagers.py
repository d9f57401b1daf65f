"""hivemind's two averagers, of gradients and of the state, with their traffic counted."""

from collections.abc import Iterable
from typing import Any

import torch
from hivemind.averaging.control import StepControl
from hivemind.optim.grad_averager import GradientAverager
from hivemind.optim.state_averager import TrainingStateAverager
from hivemind.p2p import PeerID

from app.p2p.plausible import agreed_epoch
from app.trainer.averaging.gathering import searches
from app.trainer.averaging.guarded_averager import GuardedAveraging
from app.trainer.averaging.members_only import MembersOnly, MembersOnlyDonor
from app.trainer.peer.traffic import CountedTraffic


class CountingStateAverager(
    MembersOnlyDonor, CountedTraffic, GuardedAveraging, TrainingStateAverager
):
    """Averages parameters and optimizer state, and sends them to newcomers."""

    wire_class = TrainingStateAverager

    _round: StepControl | None = None

    def _do(self, *arguments: Any, **options: Any) -> None:
        """As hivemind's, but it is known which round runs."""
        *before, averages, found, scaler, sets_to_none = arguments
        if averages:
            if found is None or found.triggered or found.done():
                found = self.schedule_step(gather=self.local_epoch, **options)
            self._round = found
        passed: tuple[Any, ...] = (*before, averages, found, scaler, sets_to_none)
        super()._do(*passed, **options)

    def end_search(self) -> None:
        """Give up a round that has found no group yet; returns once the next one may begin.

        WORKAROUND (hivemind 1.1.12): it begins no round while one runs. A search that lasts longer
        than an epoch then costs the next epoch's round: of two peers, one may always search in odd
        epochs and the other in even ones, and their weights stay apart for good.
        """
        if self._round is not None and searches(self._round):
            self._round.cancel()
            with self.lock_averaging:  # the round's thread notices
                pass

    async def _aggregate_with_group(self, *arguments: Any, **options: Any) -> dict[PeerID, int]:
        """As hivemind's, which then takes the highest epoch that a member claims for the true
        one: here nobody claims more than most members do."""
        claims = await super()._aggregate_with_group(*arguments, **options)
        epochs = {peer: claim for peer, claim in claims.items() if isinstance(claim, int)}
        own = epochs.pop(self.peer_id, 0)
        most = agreed_epoch(epochs.values(), own=own)
        return {peer: min(epochs.get(peer, own), most) for peer in claims}


class KeepingGradientAverager(MembersOnly, CountedTraffic, GuardedAveraging, GradientAverager):
    """Keeps our own gradients when a round fails, and weighs micro-batches by their samples.

    WORKAROUND (hivemind 1.1.12): `GradientAverager.step` resets the accumulators when a round
    begins. When the round then fails, `hivemind.Optimizer` "proceeds with local gradients": it
    loads the accumulators again, which are zero by then, and the samples of the epoch would be
    lost without a message. The averaged tensors still hold our gradients, so this class leaves
    them as they are.
    """

    wire_class = GradientAverager

    epoch = 0
    """Of the round that begins next, told to the peers of a group."""

    is_mean = False
    """The accumulators, which are the optimizer's own buffers, hold the mean and no longer the
    sum."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As hivemind's, but it gives no copies of the gradients away: nobody needs them."""
        super().__init__(*arguments, allow_state_sharing=False, **options)

    def schedule_step(self, scheduled_time: float | None = None, **options: Any) -> StepControl:
        """As hivemind's, but no leader of our kind takes us into another epoch's group."""
        return super().schedule_step(scheduled_time, gather=self.epoch, **options)

    def load_accumulators_into_averager_(self) -> None:
        """Load what was accumulated, unless the round that runs has loaded it already."""
        if self.is_mean or (self._new_averaged_grads and self.local_times_accumulated == 0):
            return
        super().load_accumulators_into_averager_()

    def weighted(self, loss: torch.Tensor, samples: int) -> torch.Tensor:
        """The loss of a micro-batch, scaled by its samples over those of the epoch's first one.

        Gradients of micro-batches of different sizes can be added up then.

        loss: scalar, mean over the micro-batch. samples: in the micro-batch.
        """
        first: Any = self._anchor_batch_size
        return loss if first in (None, samples) else loss * (samples / first)

    def accumulate_grads_(self, batch_size: int) -> None:
        """Count a micro-batch as a multiple of the epoch's first one.

        hivemind counts every micro-batch as 1 where gradients are summed in the optimizer's own
        buffers.
        """
        super().accumulate_grads_(batch_size)
        first: Any = self._anchor_batch_size  # hivemind's annotation is None, its first value
        parts = self.local_samples_accumulated / first
        self.local_times_accumulated = parts  # hivemind only divides by it

    def reset_accumulated_grads_(self) -> None:
        """Begin an epoch: set the gradients and the counters to zero."""
        self.is_mean = False
        super().reset_accumulated_grads_()

    @torch.no_grad()
    def take_mean_(self) -> None:
        """Turn the accumulated sum into the mean that the optimizer steps with."""
        for gradient in self._grad_accumulators():
            gradient.div_(self.local_times_accumulated)
        self.is_mean = True

    @torch.no_grad()
    def zero_(self) -> None:
        """Set the gradients to zero, and leave the counters as they are."""
        for gradient in self._grad_accumulators():
            gradient.zero_()

    @property
    def is_finite(self) -> bool:
        """The accumulated gradients hold no NaN and no infinity."""
        return _all_finite(self._grad_accumulators())


def _all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    # One norm over all tensors, so that the CPU waits for the GPU once.
    largest = torch.nn.utils.get_total_norm(list(tensors), norm_type=float("inf"))
    return bool(torch.isfinite(largest))
