"""The form's fields: their dotted names, their first texts, and which of them matter.

Most names are those of the spec's fields. Exceptions: the model's sizes have common names, since
each model type names them differently; ``dataset_info.paths``, ``pretrained.files`` and
``training_params.evaluation.prompts`` hold one entry a line, ``pretrained.config`` the text of a
``config.json``; ``training_params.adapters.train`` is ``all`` or ``adapters``; ``evaluation.text``
says which text evaluations measure, a key of `HELD_OUT_FIELDS`; the parts of a mixture are named by
`part_name`; and ``organiser`` says how the finished spec is to be signed (``app.spec.signing``):
``access`` is ``open`` for no signature, ``signed`` or ``closed``.
"""

from collections.abc import Mapping

from app.spec.evaluation import EvaluationSpec

Values = Mapping[str, str]
"""The form's texts by dotted field name, such as ``training_params.seed``."""

SIZES = ("layers", "width", "heads", "feed_forward")
"""The model's sizes in the form. Its positions are the spec's sequence length."""

STRATEGIES = ("diloco", "sparseloco")
"""Those with options in the form, under the strategy's name."""

SOURCE_FIELDS = {
    "builtin": (),
    "files": ("paths", "format", "text_field"),
    "https": ("url", "sha256", "format", "text_field"),
    "hub": ("name", "config", "split", "text_field"),
    "mixture": (),
}
"""The form's data fields that apply to each data source; a mixture has parts instead."""

PARTS = "dataset_info.parts"
"""Where the parts of a mixture stand."""

LEAST_PARTS, MOST_PARTS = 2, 32

HELD_OUT_FIELDS = {
    "share": (),
    "hub": SOURCE_FIELDS["hub"],
    "https": SOURCE_FIELDS["https"],
    "never": (),
}
"""The fields of ``dataset_info.held_out`` that apply to each text for evaluations."""

TOKENIZER_FIELDS = {
    "bytes": (),
    "file": ("path",),
    "hub": ("name", "revision"),
    "https": ("url", "sha256"),
}
"""Those that apply to each kind of tokenizer."""

PRETRAINED_FIELDS = {
    "": (),
    "hub": ("name", "revision", "config"),
    "https": ("files", "config"),
}
"""Those that apply to each source of weights to begin with, "" for none."""

DEFAULTS: Values = {
    "title": "",
    "run_id": "",
    "local": "",
    "about.purpose": "",
    "about.organiser": "",
    "about.until": "",
    "about.licence": "",
    "about.contact": "",
    "organiser.access": "open",
    "organiser.name": "",
    "model_config.model_type": "llama",
    "model_config.layers": "6",
    "model_config.width": "384",
    "model_config.heads": "6",
    "model_config.feed_forward": "1024",
    "pretrained.source": "",
    "pretrained.name": "",
    "pretrained.revision": "",
    "pretrained.files": "",
    "pretrained.config": "",
    "dataset_info.source": "builtin",
    "dataset_info.format": "auto",
    "dataset_info.text_field": "text",
    "dataset_info.paths": "",
    "dataset_info.url": "",
    "dataset_info.sha256": "",
    "dataset_info.name": "",
    "dataset_info.config": "",
    "dataset_info.split": "train",
    "evaluation.text": "share",
    "training_params.evaluation.every_epochs": "1",
    "training_params.evaluation.share": "0.02",
    "dataset_info.held_out.name": "",
    "dataset_info.held_out.config": "",
    "dataset_info.held_out.split": "validation",
    "dataset_info.held_out.url": "",
    "dataset_info.held_out.sha256": "",
    "dataset_info.held_out.format": "auto",
    "dataset_info.held_out.text_field": "text",
    "training_params.evaluation.prompts": "\n".join(EvaluationSpec().prompts),
    "training_params.evaluation.seconds": "2",
    "training_params.stop.unimproved_evaluations": "",
    "dataset_info.tokenizer.kind": "bytes",
    "dataset_info.tokenizer.path": "",
    "dataset_info.tokenizer.name": "",
    "dataset_info.tokenizer.revision": "",
    "dataset_info.tokenizer.url": "",
    "dataset_info.tokenizer.sha256": "",
    "training_params.sequence_length": "256",
    "training_params.target_batch_size": "1024",
    "training_params.micro_batch_size": "auto",
    "training_params.optimizer.name": "adamw",
    "training_params.optimizer.learning_rate": "0.001",
    "training_params.optimizer.weight_decay": "0.1",
    "training_params.schedule.name": "constant",
    "training_params.schedule.warmup_epochs": "20",
    "training_params.schedule.total_epochs": "",
    "training_params.stop.epochs": "",
    "training_params.stop.minutes": "",
    "training_params.precision": "auto",
    "training_params.seed": "0",
    "training_params.strategy": "gradient-averaging",
    "training_params.max_grad_norm": "",
    "training_params.diloco.local_batch_size": "32",
    "training_params.diloco.max_grad_norm": "1",
    "training_params.diloco.bits": "4",
    "training_params.sparseloco.local_batch_size": "32",
    "training_params.sparseloco.max_grad_norm": "1",
    "training_params.sparseloco.keep": "64",
    "training_params.adapters.train": "all",
    "training_params.adapters.rank": "16",
    "training_params.adapters.alpha": "32",
    "training_params.adapters.dropout": "0",
    "training_params.adapters.targets": "",
    "training_params.averaging.compression": "float16",
    "training_params.averaging.matchmaking_seconds": "5",
    "training_params.averaging.timeout_seconds": "auto",
    "training_params.averaging.record_seconds": "45",
}
"""The form's initial texts: a Llama of 11 million parameters, trained on Python's documentation. An
epoch takes some seconds on two GPUs, and every machine has room for it."""


PART_DEFAULTS: Values = {
    "weight": "1",
    "data.source": "hub",
    **{
        f"data.{option}": DEFAULTS[f"dataset_info.{option}"]
        for option in dict.fromkeys(each for fields in SOURCE_FIELDS.values() for each in fields)
    },
}
"""The texts of a new part of a mixture, by names that `part_name` puts its number before."""


def part_name(number: int, name: str) -> str:
    """The form's name of a field of a mixture's part. number: counted from 0."""
    return f"{PARTS}.{number}.{name}"


def begins_with_weights(values: Values) -> bool:
    """The form's model begins with pretrained weights, whose config says its sizes."""
    return bool(values.get("pretrained.source", ""))


def relevant(name: str, values: Values) -> bool:
    """False for a field that belongs to another choice than the form's: of the source, the
    tokenizer, the strategy, what the model begins with, what is evaluated, or who may take part."""
    part, _dot, rest = name.partition(".")
    match part:
        case "organiser":
            return rest == "access" or values.get("organiser.access", "open") != "open"
        case "model_config":
            return not begins_with_weights(values)
        case "pretrained":
            chosen = values.get("pretrained.source", "")
            return rest == "source" or rest in PRETRAINED_FIELDS.get(chosen, ())
        case "training_params":
            return _trains_with(rest, values)
        case "dataset_info":
            return _reads(rest, values)
    return True


def _trains_with(name: str, values: Values) -> bool:
    block, _dot, option = name.rpartition(".")
    strategy = values.get("training_params.strategy", "")
    measured = values.get("evaluation.text", "never")
    match block:
        case "diloco" | "sparseloco":
            return strategy == block
        case "adapters":
            is_chosen = values.get("training_params.adapters.train") == "adapters"
            return begins_with_weights(values) and (option == "train" or is_chosen)
        case "evaluation":
            return measured == "share" if option == "share" else measured != "never"
    if name == "stop.unimproved_evaluations":
        return measured != "never"
    return strategy not in STRATEGIES or name not in ("averaging.compression", "max_grad_norm")


def _reads(name: str, values: Values) -> bool:
    block, _dot, option = name.rpartition(".")
    source = values.get("dataset_info.source", "")
    if block.startswith("parts."):
        own = values.get(f"dataset_info.{block}.source", "")
        is_of_any = option in ("weight", "source")
        return source == "mixture" and (is_of_any or option in SOURCE_FIELDS.get(own, ()))
    if block == "held_out":
        return option in HELD_OUT_FIELDS.get(values.get("evaluation.text", "never"), ())
    if block == "tokenizer":
        kind = values.get("dataset_info.tokenizer.kind", "bytes")
        return option == "kind" or option in TOKENIZER_FIELDS.get(kind, ())
    return name == "source" or name in SOURCE_FIELDS.get(source, ())
