"""The optimizer and the schedule of its learning rate."""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from app.common.errors import SpecError
from app.common.i18n import _

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec
    from app.spec.training import OptimizerSpec, ScheduleSpec

MUON_MOMENTUM = 0.95
"""Where the spec names none."""


def optimizer_for(
    spec: "SwarmSpec", model: torch.nn.Module, *, fused: bool = True
) -> Callable[[Any], torch.optim.Optimizer]:
    """Return what makes the spec's optimizer from the model's parameters or parameter groups.

    fused: by PyTorch's fused kernels, which change a parameter in one pass over its memory.

    Raises `SpecError` where this PyTorch lacks it.
    """
    wanted = spec.training.optimizer
    rate, decay = wanted.learning_rate, wanted.weight_decay
    if wanted.name == "sgd":
        return partial(torch.optim.SGD, lr=rate, weight_decay=decay, momentum=wanted.momentum)
    if wanted.name == "muon":
        if not hasattr(torch.optim, "Muon"):  # before 2.9
            raise SpecError(
                _("this version of PyTorch, {version}, has no Muon.").format(
                    version=torch.__version__
                ),
                field="training_params.optimizer.name",
                remedy=_("Install PyTorch 2.9 or later."),
            )
        return partial(MuonAndAdamW, options=wanted, others=_embeddings(model), fused=fused)
    return partial(
        torch.optim.AdamW,
        lr=rate,
        weight_decay=decay,
        betas=wanted.betas,
        eps=wanted.eps,
        fused=fused,
    )


@contextmanager
def own_settings(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within it, a loaded state changes no setting: rates and the like are the spec's, which may
    have changed since a checkpoint was written."""
    kept = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    yield
    for group, settings in zip(optimizer.param_groups, kept, strict=True):
        group.update(settings)


def clip_before_steps(optimizer: torch.optim.Optimizer, most: float) -> None:
    """Cut the gradient to a norm of ``most`` before each step of an optimizer."""

    def clip(*_: Any) -> None:
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, most)

    optimizer.register_step_pre_hook(clip)


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon for matrices, AdamW for embeddings, the output layer, norms and biases.

    All parameters stay in the groups in which they come, since hivemind wants so, and both read the
    groups' learning rate. Muon's steps are as large as AdamW's (root mean square), so that one rate
    suits both.
    """

    def __init__(
        self,
        params: Any,
        *,
        options: "OptimizerSpec",
        others: Collection[torch.nn.Parameter],
        fused: bool,
    ) -> None:
        """others: the matrices that aren't Muon's."""
        rate, decay = options.learning_rate, options.weight_decay
        super().__init__(params, {"lr": rate, "weight_decay": decay})
        self._others = {id(each) for each in others}
        nothing: list[torch.nn.Parameter] = []
        self._muon = torch.optim.Muon(
            [{"params": nothing}],
            momentum=options.momentum or MUON_MOMENTUM,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = torch.optim.AdamW(
            [{"params": nothing}], betas=options.betas, eps=options.eps, fused=fused
        )
        if fused:
            self.register_load_state_dict_post_hook(_take_counts_to_device)

    def _is_matrix(self, parameter: torch.nn.Parameter) -> bool:
        return parameter.dim() == 2 and id(parameter) not in self._others

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change each parameter that has a gradient. closure: isn't called."""
        self._step(self._muon, matrices=True)
        self._step(self._adamw, matrices=False)

    def _step(self, part: torch.optim.Optimizer, *, matrices: bool) -> None:
        part.state = self.state  # anew each time: loading a state replaces it
        part.param_groups = []
        for group in self.param_groups:
            own = [each for each in group["params"] if self._is_matrix(each) == matrices]
            part.param_groups.append(part.defaults | group | {"params": own})
        part.step()


def _take_counts_to_device(optimizer: torch.optim.Optimizer) -> None:
    """Fused kernels want the number of steps beside the parameter; a checkpoint's lies on the CPU,
    and PyTorch moves it only where the optimizer itself is fused."""
    for parameter, state in optimizer.state.items():
        if isinstance(state.get("step"), torch.Tensor):
            state["step"] = state["step"].to(parameter.device)


def _embeddings(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The matrices with a row for each token or place, and that of the output layer."""
    found = [each.weight for each in model.modules() if isinstance(each, torch.nn.Embedding)]
    output: Any = getattr(model, "get_output_embeddings", lambda: None)()
    return [*found, *(() if output is None else (output.weight,))]


def scheduler_for(spec: "SwarmSpec") -> Callable[[torch.optim.Optimizer], LambdaLR] | None:
    """Return what makes the spec's schedule of one step an epoch, None for a constant rate."""
    schedule = spec.training.schedule
    if schedule.name == "constant" and schedule.warmup_epochs == 0:
        return None
    return partial(LambdaLR, lr_lambda=partial(_share_of_rate, schedule))


def _share_of_rate(schedule: "ScheduleSpec", epoch: int) -> float:
    """The factor of the learning rate in an epoch.

    It rises linearly over the warm-up, whose first epoch has a rate above 0, is 1 after it, and
    falls to 0 at ``total_epochs`` where the schedule isn't constant.
    """
    if epoch < schedule.warmup_epochs:
        return (epoch + 1) / (schedule.warmup_epochs + 1)
    if schedule.name == "constant" or schedule.total_epochs is None:
        return 1.0
    length = schedule.total_epochs - schedule.warmup_epochs
    done = min(1.0, (epoch - schedule.warmup_epochs) / length)
    return 1.0 - done if schedule.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
