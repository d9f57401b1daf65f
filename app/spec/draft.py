"""Build a swarm's spec from a form: a mapping from dotted field names to the texts in the form.

Most names are those of the spec's fields. Exceptions: the model's sizes have common names, since
each model type names them differently, ``dataset_info.paths`` holds one file per line, and
``organiser`` says how the finished spec is to be signed (``app.spec.signing``): ``access`` is
``open`` for no signature, ``signed`` or ``closed``.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from app.common.errors import SpecError
from app.common.i18n import _
from app.organiser.invites import NAME_CHARACTERS
from app.spec import architectures
from app.spec.schema import SwarmSpec, mistakes, parse

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
}
"""The form's data fields that apply to each data source."""

DEFAULTS: Values = {
    "title": "",
    "run_id": "",
    "local": "",
    "organiser.access": "open",
    "organiser.name": "",
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
    "training_params.strategy": "gradient-averaging",
    "training_params.max_grad_norm": "",
    "training_params.diloco.local_batch_size": "32",
    "training_params.diloco.max_grad_norm": "1",
    "training_params.diloco.bits": "4",
    "training_params.sparseloco.local_batch_size": "32",
    "training_params.sparseloco.max_grad_norm": "1",
    "training_params.sparseloco.keep": "64",
    "training_params.averaging.compression": "float16",
    "training_params.averaging.matchmaking_seconds": "5",
    "training_params.averaging.timeout_seconds": "auto",
    "training_params.averaging.record_seconds": "45",
}
"""The form's initial texts: a Llama of 11 million parameters, trained on Python's documentation. An
epoch takes some seconds on two GPUs, and every machine has room for it."""


def check(values: Values) -> tuple[SwarmSpec | None, dict[str, SpecError]]:
    """Build and check the spec; returns it, or None and the errors by the form's field name."""
    content, wrong = _content(values)
    wrong |= {
        _form_field(field, error, values): _reworded(error)
        for field, error in mistakes(content).items()
        if not field.startswith("model_config")
    }
    if values.get("organiser.access", "open") != "open":
        wrong |= _name_mistake(values.get("organiser.name", "").strip())
    if wrong:
        return None, wrong
    return parse(content), {}


def _name_mistake(name: str) -> dict[str, SpecError]:
    field = "organiser.name"
    if not name:
        return {field: SpecError(_("is missing."), field=field, remedy=_("Fill it in."))}
    if len(name) > NAME_CHARACTERS or not name.isprintable():
        text = _("a name is one line of at most {count} printable characters.")
        message = text.format(count=NAME_CHARACTERS)
        return {field: SpecError(message, field=field, remedy=_("Correct the value."))}
    return {}


def strategy_values(spec: SwarmSpec) -> dict[str, str]:
    """The form's texts for a spec's strategy, and for what depends on the samples of an epoch."""
    training = spec.training
    values: dict[str, str | float | None] = {
        "strategy": training.strategy,
        "target_batch_size": training.target_batch_size,
        "max_grad_norm": training.max_grad_norm,
        "schedule.warmup_epochs": training.schedule.warmup_epochs,
        "schedule.total_epochs": training.schedule.total_epochs,
        "stop.epochs": training.stop.epochs,
    }
    if training.local_steps is not None:
        for name, value in training.local_steps.model_dump().items():
            if f"training_params.{training.strategy}.{name}" in DEFAULTS:
                values[f"{training.strategy}.{name}"] = value
    return {f"training_params.{name}": _as_text(value) for name, value in values.items()}


def _as_text(value: str | float | None) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def suggested_run_id(title: str) -> str:
    """A run id made of the title and random digits, which make it unique."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-")
    return f"{words or 'swarm'}-{secrets.token_hex(3)}"


def _content(values: Values) -> tuple[dict[str, Any], dict[str, SpecError]]:
    model, wrong = _model(values)
    content: dict[str, Any] = {"model_config": model, "training_params": {}, "dataset_info": {}}
    source = values.get("dataset_info.source", "")
    for name, text in values.items():
        part, _dot, rest = name.partition(".")
        if (
            not text.strip()
            or part in ("model_config", "organiser")
            or not _applies(name, values, source)
        ):
            continue
        _set_nested(content, name, _value(rest, text))
    return content, wrong


def _value(name: str, text: str) -> Any:
    if name == "paths":
        return _lines(text)
    # one of a few numbers, which pydantic takes for no text
    is_choice = name == "diloco.bits" and text.strip().isdigit()
    return int(text) if is_choice else text.strip()


def _applies(name: str, values: Values, source: str) -> bool:
    """False for texts that belong to a source, tokenizer or strategy other than the chosen one."""
    part, _dot, rest = name.partition(".")
    if rest == "max_grad_norm":
        return values.get("training_params.strategy") not in STRATEGIES
    if part == "training_params" and (block := rest.partition(".")[0]) in STRATEGIES:
        return values.get("training_params.strategy") == block
    if name == "dataset_info.tokenizer.path":
        return values.get("dataset_info.tokenizer.kind") == "file"
    if part != "dataset_info" or rest == "source" or rest.startswith("tokenizer"):
        return True
    return rest in SOURCE_FIELDS.get(source, ())


def _set_nested(content: dict[str, Any], name: str, value: Any) -> None:
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
    sizes = {size: _positive(f"model_config.{size}", values, wrong) for size in SIZES}
    positions = _positive("training_params.sequence_length", values, {})
    fields: dict[str, Any] = {}
    if not wrong:
        try:
            fields = architectures.fields_for(model_type, **sizes, positions=positions)
        except SpecError as error:
            wrong[error.field] = error
    return {"model_type": model_type, **fields}, wrong


def _positive(name: str, values: Values, wrong: dict[str, SpecError]) -> int:
    """Parse a whole number above 0; for an invalid text, add an error to ``wrong``, return 1."""
    text = values.get(name, "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    wrong[name] = SpecError(
        _("{text} is no whole number above 0.").format(text=repr(text[:40])),
        field=name,
        remedy=_("Correct the value."),
    )
    return 1


def _reworded(error: SpecError) -> SpecError:
    missing = _("is missing.")
    if error.message != missing:
        return error
    return SpecError(missing, field=error.field, remedy=_("Fill it in."))


def _form_field(field: str, error: SpecError, values: Values) -> str:
    """The form's field at which to show an error of the spec's ``field``.

    For an error about a whole part of the spec, that is the first of its fields that the message
    names, or else its first field.
    """
    if field in values:
        return field
    below = [name for name in values if name.startswith(f"{field}.")]
    places = {name: error.message.find(name.rpartition(".")[2]) for name in below}
    named = sorted((name for name in below if places[name] >= 0), key=lambda name: places[name])
    return next(iter(named or below), field)
