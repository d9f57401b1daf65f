"""Attention without a mask where each token looks at all before; model and loss are one graph."""

from typing import Any

import pytest
import torch

from app.spec.schema import MODEL_TYPES
from app.trainer.model.attention import CAUSAL
from app.trainer.model.loss import loss_of
from tests.support.training.models import built, spec_of, tokens

EAGER = ("gpt_neo", "gemma2")
"""Those with an attention of their own: PyTorch's has neither its local windows nor a soft cap."""

TRACED = [
    pytest.param(each, marks=() if each in ("gpt2", "llama", "gemma2") else pytest.mark.slow)
    for each in MODEL_TYPES
]
"""Tracing a model takes seconds."""

WINDOWED = {
    "mistral": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8},
    "olmo3": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
}


def kernels(model: torch.nn.Module) -> set[str]:
    """The kernels of attention that a step runs."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loss_of(model, tokens()).backward()
    names = {event.name for event in profile.events()}
    return {name for name in names if "scaled_dot_product" in name and "backward" not in name}


@pytest.mark.parametrize("model_type", TRACED)
def test_model_and_loss_are_one_graph_without_a_mask(model_type: str) -> None:
    torch._dynamo.reset()
    graphs: list[Any] = []

    def keep(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = built(spec_of(model_type))
    torch.compile(lambda batch: loss_of(model, batch), backend=keep)(tokens()).backward()
    (graph,) = graphs
    attention = [one for one in graph.graph.nodes if "scaled_dot_product" in str(one.target)]
    assert len(attention) == (0 if model_type in EAGER else 2)
    for one in attention:
        assert one.kwargs["attn_mask"] is None
        assert one.kwargs["is_causal"] is True


@pytest.mark.parametrize("model_type", [each for each in MODEL_TYPES if each not in EAGER])
def test_a_step_takes_the_flash_kernel(model_type: str) -> None:
    found = kernels(built(spec_of(model_type)).eval())  # dropout takes another one on CPUs
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in found
    assert not any("math" in name for name in found)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_attention_is_torchs_own_where_the_model_has_it(model_type: str) -> None:
    config: Any = built(spec_of(model_type)).config
    assert config._attn_implementation == ("eager" if model_type in EAGER else CAUSAL)
    assert "causal" not in str(config.to_dict())  # it isn't exported


@pytest.mark.parametrize("model_type", WINDOWED)
def test_windows_shorter_than_a_sample_keep_their_masks(model_type: str) -> None:
    windowed: Any = built(spec_of(model_type, **WINDOWED[model_type]))
    assert windowed.config._attn_implementation == "sdpa"
    other = built(spec_of(model_type))
    other.load_state_dict(windowed.state_dict())
    losses = [loss_of(each.eval(), tokens()).item() for each in (windowed, other)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("model_type", [each for each in MODEL_TYPES if each not in EAGER])
def test_the_loss_is_that_with_a_mask(model_type: str) -> None:
    model: Any = built(spec_of(model_type)).eval()
    without = loss_of(model, tokens())
    model.set_attn_implementation("eager")
    torch.testing.assert_close(without, loss_of(model, tokens()), atol=1e-5, rtol=1e-5)
