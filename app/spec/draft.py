"""A swarm's spec from what somebody filled in: texts, by the dotted name of their field.

Beside the spec's own fields there are a few that stand for several: the model's sizes, which
every model type names differently, and the files, one a line.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from app.common.errors import SpecError
from app.common.i18n import _
from app.spec import architectures
from app.spec.schema import SwarmSpec, mistakes, parse

Values = Mapping[str, str]

SIZES = ("layers", "width", "heads", "feed_forward")
"""Of the model; its positions are the sequence length."""

SOURCE_FIELDS = {
    "builtin": (),
    "files": ("paths", "format", "text_field"),
    "https": ("url", "sha256", "format", "text_field"),
    "hub": ("name", "config", "split", "text_field"),
}

DEFAULTS: Values = {
    "title": "",
    "run_id": "",
    "local": "",
    "model_config.model_type": "llama",
    "model_config.layers": "6",
    "model_config.width": "384",
    "model_config.heads": "6",
    "model_config.feed_forward": "1024",
    "dataset_info.source": "builtin",
    "dataset_info.format": "auto",
    "dataset_info.text_field": "text",
    "dataset_info.paths": "",
    "dataset_info.url": "",
    "dataset_info.sha256": "",
    "dataset_info.name": "",
    "dataset_info.config": "",
    "dataset_info.split": "train",
    "dataset_info.tokenizer.kind": "bytes",
    "dataset_info.tokenizer.path": "",
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
    "training_params.averaging.compression": "float16",
    "training_params.averaging.matchmaking_seconds": "5",
    "training_params.averaging.timeout_seconds": "60",
    "training_params.averaging.record_seconds": "45",
}
"""A Llama of 11 million parameters on Python's documentation: some seconds an epoch on two
GPUs, and no machine is too small for it."""


def check(values: Values) -> tuple[SwarmSpec | None, dict[str, SpecError]]:
    """The spec, or what is wrong with the texts by the name of the text."""
    content, wrong = _content(values)
    wrong |= {
        _text_of(field, error, values): _in_a_form(error)
        for field, error in mistakes(content).items()
        if not field.startswith("model_config")
    }
    if wrong:
        return None, wrong
    return parse(content), {}


def suggested_run_id(title: str) -> str:
    """A run id that tells what it is, and that nobody else has."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-")
    return f"{words or 'swarm'}-{secrets.token_hex(3)}"


def _content(values: Values) -> tuple[dict[str, Any], dict[str, SpecError]]:
    model, wrong = _model(values)
    content: dict[str, Any] = {"model_config": model, "training_params": {}, "dataset_info": {}}
    source = values.get("dataset_info.source", "")
    for name, text in values.items():
        part, _dot, rest = name.partition(".")
        if not text.strip() or part == "model_config" or not _applies(name, values, source):
            continue
        _put(content, name, _lines(text) if rest == "paths" else text.strip())
    return content, wrong


def _applies(name: str, values: Values, source: str) -> bool:
    """Texts of another data source or tokenizer than the chosen one stay behind."""
    part, _dot, rest = name.partition(".")
    if name == "dataset_info.tokenizer.path":
        return values.get("dataset_info.tokenizer.kind") == "file"
    if part != "dataset_info" or rest == "source" or rest.startswith("tokenizer"):
        return True
    return rest in SOURCE_FIELDS.get(source, ())


def _put(content: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
    content[last] = value


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


# --- the model


def _model(values: Values) -> tuple[dict[str, Any], dict[str, SpecError]]:
    model_type = values["model_config.model_type"]
    wrong: dict[str, SpecError] = {}
    sizes = {size: _whole(f"model_config.{size}", values, wrong) for size in SIZES}
    positions = _whole("training_params.sequence_length", values, {})
    fields: dict[str, Any] = {}
    if not wrong:
        try:
            fields = architectures.fields_for(model_type, **sizes, positions=positions)
        except SpecError as error:
            wrong[error.field] = error
    return {"model_type": model_type, **fields}, wrong


def _whole(name: str, values: Values, wrong: dict[str, SpecError]) -> int:
    """A whole number above 0; 1 where it is none, which ``wrong`` then says."""
    text = values.get(name, "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    wrong[name] = SpecError(
        _("{text} is no whole number above 0.").format(text=repr(text[:40])),
        field=name,
        remedy=_("Correct the value."),
    )
    return 1


def _in_a_form(error: SpecError) -> SpecError:
    missing = _("is missing.")
    if error.message != missing:
        return error
    return SpecError(missing, field=error.field, remedy=_("Fill it in."))


def _text_of(field: str, error: SpecError, values: Values) -> str:
    """The text that a mistake is shown at: one of its part, where it is about several."""
    if field in values:
        return field
    below = [name for name in values if name.startswith(f"{field}.")]
    places = {name: error.message.find(name.rpartition(".")[2]) for name in below}
    named = sorted((name for name in below if places[name] >= 0), key=lambda name: places[name])
    return next(iter(named or below), field)
