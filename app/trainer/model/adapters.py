"""Adapters: small matrices beside frozen ones, so that a round moves megabytes, not gigabytes.

Which parameters are trained, averaged and kept is decided here alone: those that need a gradient.
"""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec


def with_adapters(model: torch.nn.Module, spec: "SwarmSpec") -> torch.nn.Module:
    """The model with the spec's adapters, and all else frozen; the model itself without any.

    Half of the adapters' matrices are zero, so that the model computes as before; the others are
    drawn from torch's random state. peft's model is what it returns: the original is inside.
    """
    adapters = spec.training.adapters
    if adapters is None:
        return model
    from peft import LoraConfig, get_peft_model

    from app.spec.families import FAMILIES
    from app.spec.sources.pretrained import HubWeights

    published = spec.pretrained if isinstance(spec.pretrained, HubWeights) else None
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=adapters.rank,
        lora_alpha=adapters.alpha,  # type: ignore[arg-type]  # divided, so any number will do
        lora_dropout=adapters.dropout,
        target_modules=list(adapters.targets or FAMILIES[spec.model.model_type].matrices),
        fan_in_fan_out=spec.model.model_type == "gpt2",  # whose matrices are the other way round
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about peft's own code
        made: Any = get_peft_model(
            model,
            config,
            revision=published.revision if published else None,
        )
    config.base_model_name_or_path = published.name if published else None
    adapted: torch.nn.Module = made
    return adapted.train()


def inside(model: torch.nn.Module) -> torch.nn.Module:
    """The model of ``transformers``, which computes with its adapters, if it has any."""
    found: torch.nn.Module = getattr(model, "get_base_model", lambda: model)()
    return found


def trained(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a checkpoint keeps of a model: all that training changes, by name."""
    whole: dict[str, torch.Tensor] = model.state_dict()
    learns = {name for name, each in model.named_parameters() if each.requires_grad}
    if all(each.requires_grad for each in model.parameters()):
        return whole  # with its buffers, and with both names of what it uses twice
    return {name: tensor for name, tensor in whole.items() if name in learns}


def load_state(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give a model a state that `state_of` has made of one of the same spec.

    Raises `RuntimeError`, as torch does, for one of another model.
    """
    expected = state_of(model).keys()
    if state.keys() != expected:
        raise RuntimeError("the state is of another model")
    model.load_state_dict(state, strict=False)
