"""The precision that a device computes a model in."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from app.common.errors import SpecError
from app.common.i18n import _

_BF16_CAPABILITY = (8, 0)
"""Compute capability of NVIDIA's Ampere; older GPUs only emulate bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What the forward pass computes in; weights, gradients and optimizer stay float32."""

    name: Literal["fp32", "bf16", "fp16"]
    """As specs call it."""

    autocast: torch.dtype | None = None
    """The type that `torch.autocast` uses; None for no autocast."""

    needs_scaler: bool = False
    """The loss must be scaled, since gradients would underflow in float16."""

    def context(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which a loss is computed."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.autocast)


FP32 = Precision(name="fp32")
BF16 = Precision(name="bf16", autocast=torch.bfloat16)
FP16 = Precision(name="fp16", autocast=torch.float16, needs_scaler=True)


def precision_for(
    device: torch.device, wanted: Literal["auto", "fp32", "bf16", "fp16"]
) -> Precision:
    """The wanted precision; for ``auto`` the best. Raises `SpecError` if the device lacks it."""
    possible = _precisions(device)
    if wanted == "auto":
        return possible[0]
    for precision in possible:
        if precision.name == wanted:
            return precision
    names = ", ".join(each.name for each in possible)
    raise SpecError(
        _("{precision} can't be computed on {device}.").format(precision=wanted, device=device),
        field="training_params.precision",
        remedy=_("Use auto, or one of: {names}.").format(names=names),
    )


def _precisions(device: torch.device) -> tuple[Precision, ...]:
    """What a device can compute in, the best first."""
    if device.type == "cpu":
        return FP32, BF16  # bfloat16 works, but is slow without AMX
    if device.type != "cuda":
        return (FP32,)  # mps: autocast isn't mature there
    if torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY:
        return BF16, FP16, FP32
    return FP16, FP32
