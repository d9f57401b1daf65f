"""The precision that a device computes in: found, or refused by name."""

from typing import Any

import pytest
import torch

from app.common.errors import SpecError
from app.trainer.model.loss import loss_of
from app.trainer.model.precision import BF16, FP16, FP32, Precision, precision_for
from tests.support.training.models import CPU, built, spec_of, tokens


@pytest.mark.parametrize(
    ("device", "wanted", "expected"),
    [
        ("cpu", "auto", FP32),
        ("cpu", "fp32", FP32),
        ("cpu", "bf16", BF16),
        ("mps", "auto", FP32),
        ("cuda", "auto", BF16),
        ("cuda", "fp16", FP16),
        ("cuda", "fp32", FP32),
        ("cuda:1", "auto", FP16),
    ],
)
def test_a_precision_is_found(
    monkeypatch: pytest.MonkeyPatch, device: str, wanted: Any, expected: Precision
) -> None:
    capabilities = {torch.device("cuda"): (9, 0), torch.device("cuda:1"): (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    assert precision_for(torch.device(device), wanted) == expected


@pytest.mark.parametrize(("device", "wanted"), [("cpu", "fp16"), ("mps", "bf16"), ("cuda", "bf16")])
def test_a_precision_that_the_device_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, device: str, wanted: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(SpecError) as caught:
        precision_for(torch.device(device), wanted)
    assert caught.value.field == "training_params.precision"
    assert "fp32" in caught.value.remedy


def test_only_float16_needs_a_scaler() -> None:
    assert [each.needs_scaler for each in (FP32, BF16, FP16)] == [False, False, True]


def test_a_loss_in_bfloat16_is_float32_and_near() -> None:
    model = built(spec_of()).eval()
    exact = loss_of(model, tokens())
    with BF16.context(CPU):
        near = loss_of(model, tokens())
    assert near.dtype == torch.float32
    assert near.item() == pytest.approx(exact.item(), abs=0.05)
    assert near.item() != exact.item()
    with FP32.context(CPU):
        assert loss_of(model, tokens()).item() == exact.item()
