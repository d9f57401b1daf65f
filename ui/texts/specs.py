"""What a spec says of its model, weights, tokenizer and data, in words."""

from typing import TYPE_CHECKING

from app.common.i18n import _, ngettext
from ui.texts import units

if TYPE_CHECKING:
    from app.spec.schema import ModelSpec, SwarmSpec
    from app.spec.sources.data import DataSpec, MixtureData, TokenizerSpec


def model_name(model_type: str) -> str:
    """A model type as people write it, such as ``GPT-2`` for ``gpt2``."""
    return _MODEL_NAMES.get(model_type, model_type)


_MODEL_NAMES = {
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3",
    "gpt2": "GPT-2",
    "gpt_neo": "GPT-Neo",
    "gpt_neox": "GPT-NeoX",
    "granite": "Granite",
    "llama": "Llama",
    "mistral": "Mistral",
    "olmo2": "OLMo 2",
    "olmo3": "OLMo 3",
    "opt": "OPT",
    "phi": "Phi",
    "phi3": "Phi-3",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "qwen3_moe": "Qwen3 MoE",
    "smollm3": "SmolLM3",
}


def model_description(spec: "ModelSpec") -> str:
    """A model's type and the first six fields of its configuration."""
    fields = ", ".join(f"{name} {value}" for name, value in list(spec.fields.items())[:6])
    kind = _MODEL_NAMES.get(spec.model_type, spec.model_type)
    return f"{kind} ({fields})" if fields else kind


def about_note(spec: "SwarmSpec") -> str:
    """How far what a spec says of its purpose may be believed."""
    if spec.organiser is None:
        return _("As the invite says. It isn't signed: anybody can have written this.")
    return _("As the invite says, which {name} has signed.").format(name=spec.organiser.name)


def weights_description(spec: "SwarmSpec") -> str:
    """Where the weights come from that a swarm's model begins with; "" for a model by chance."""
    weights = spec.pretrained
    if weights is None:
        return ""
    if weights.source == "hub":
        return _("the weights of {name} from the Hugging Face hub").format(name=weights.name)
    return _("the weights at {url}").format(url=weights.files[0].url)


def tokenizer_description(spec: "TokenizerSpec") -> str:
    """Where a downloaded tokenizer comes from; "" for one that isn't downloaded."""
    match spec.kind:
        case "hub":
            return _("the tokenizer of {name} from the Hugging Face hub").format(name=spec.name)
        case "https":
            return _("the tokenizer at {url}").format(url=spec.url)
        case _:
            return ""


def data_description(spec: "DataSpec") -> str:
    """Where the training data comes from, in full, and where text for evaluations alone does."""
    return with_held_out(_source(spec), spec)


def with_held_out(data: str, spec: "DataSpec") -> str:
    """Words for the training data, and for the source of text for evaluations, if there is one."""
    if spec.held_out is None:
        return data
    where = spec.held_out.url if spec.held_out.source == "https" else spec.held_out.name
    return _("{data}; evaluated on {where}").format(data=data, where=where)


def shares(spec: "MixtureData") -> str:
    """The sources of a mixture, one a line, each with its share of the samples."""
    whole = sum(part.weight for part in spec.parts)
    return "\n".join(
        _("{percent}: {source}").format(
            percent=units.percent(part.weight, whole), source=data_description(part.data)
        )
        for part in spec.parts
    )


def _source(spec: "DataSpec") -> str:
    match spec.source:
        case "files":
            count = len(spec.paths)
            text = ngettext("{count} file of yours", "{count} files of yours", count)
            return text.format(count=units.count(count))
        case "https":
            return _("Downloaded from {url}").format(url=spec.url)
        case "hub":
            return _("Hugging Face data set {name}").format(name=spec.name)
        case "slot":
            return _("Files of yours for the slot {label}").format(label=spec.label)
        case "mixture":
            return shares(spec)
        case _:
            return _("Built in: {name}").format(name=spec.name)
