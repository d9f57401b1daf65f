"""The outer optimizer, which applies the mean of all updates to the weights that all share."""

from collections.abc import Callable, Iterable, Sequence

import torch


class ExactSGD(torch.optim.SGD):
    """SGD with momentum whose results have the same bits on all processors.

    PyTorch's own fuses multiplications and additions where the processor can, and so rounds
    otherwise than on one that can't. The state and its layout are those of `torch.optim.SGD`.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change each parameter that has a gradient. closure: isn't called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, rate=group["lr"], momentum=group["momentum"])

    def _move(self, parameter: torch.Tensor, *, rate: float, momentum: float) -> None:
        gradient = parameter.grad
        assert gradient is not None
        way = gradient.clone()
        if momentum:
            state = self.state[parameter]
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = torch.zeros_like(gradient)
            buffer.mul_(momentum).add_(gradient)
            way.add_(buffer * momentum)  # Nesterov
        parameter.sub_(way.mul_(rate))


def outer_optimizer(
    parameters: Iterable[torch.nn.Parameter], *, rate: float, momentum: float
) -> torch.optim.SGD:
    """The outer optimizer: SGD, with Nesterov's momentum where momentum is above 0.

    parameters: the weights that all share, float32 on the CPU.
    """
    return ExactSGD(parameters, lr=rate, momentum=momentum, nesterov=momentum > 0)


def step(optimizer: torch.optim.Optimizer, mean: Sequence[torch.Tensor]) -> None:
    """Apply the mean of all updates, which are weights before the inner steps minus those after.

    mean: float32, one tensor for each parameter, in the order of the optimizer's parameters.
    """
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for parameter, gradient in zip(parameters, mean, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def set_model(
    model_parameters: Iterable[torch.Tensor],
    outer_parameters: Iterable[torch.Tensor],
    drift: Iterable[torch.Tensor],
) -> None:
    """Set the model to the shared weights plus a drift.

    drift: what the inner steps changed since the snapshot whose update was sent: weights now minus
    weights then. It isn't 0 where machines compute while they average.
    """
    for parameter, outer, moved in zip(model_parameters, outer_parameters, drift, strict=True):
        parameter.copy_(outer + moved.to(outer))
