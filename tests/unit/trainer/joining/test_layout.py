"""A state as bytes."""

import torch

from app.trainer.joining.layout import StateLayout
from tests.support.training.states import SmallState


def test_a_state_with_adam_takes_8_bytes_a_parameter() -> None:
    state = SmallState()
    parameters = list(state.model.parameters())
    count = sum(each.numel() for each in parameters)
    single = 4 * len(parameters)  # each parameter's count of steps
    # A bias of a single value is not rounded, nor are its statistics.
    assert state.layout.size == 8 * (count - 1) + 12 + single


def test_what_was_packed_is_unpacked() -> None:
    state = SmallState(steps=5)
    layout = state.layout
    for place, tensor in zip(layout.unpack(layout.pack(state.tensors)), state.tensors, strict=True):
        torch.testing.assert_close(place.float(), tensor.detach().float(), rtol=2**-8, atol=0)
    sent = layout.unpack(layout.pack(state.tensors))
    assert all(torch.equal(sent[place], state.tensors[place]) for place in (0, 1))


def test_what_must_have_the_same_bits_is_not_rounded() -> None:
    state = SmallState(steps=5)
    count = len(list(state.model.parameters()))
    layout = StateLayout.of(state.tensors, parameters=count, exact=True)
    sent = layout.unpack(layout.pack(state.tensors))
    assert all(map(torch.equal, sent, (each.detach().float() for each in state.tensors)))
    assert layout.digest != state.layout.digest


def test_only_the_same_tensors_have_the_same_digest() -> None:
    tensors = [torch.zeros(2, 3), torch.zeros(4)]
    digests = {
        StateLayout.of(tensors, parameters=1).digest,
        StateLayout.of(tensors, parameters=2).digest,
        StateLayout.of(tensors[::-1], parameters=1).digest,
        StateLayout.of([torch.zeros(3, 2), torch.zeros(4)], parameters=1).digest,
    }
    assert len(digests) == 4
    assert StateLayout.of([torch.ones(2, 3), torch.ones(4)], parameters=1).digest in digests
