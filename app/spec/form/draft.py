"""Build a swarm's spec from a form: a mapping from the fields' names to the texts in the form."""

import json
import re
import secrets
from typing import Any

from app.common.errors import SpecError
from app.common.i18n import _
from app.organiser.invites import NAME_CHARACTERS
from app.spec import architectures
from app.spec.families import FAMILIES
from app.spec.form.names import (
    DEFAULTS,
    HELD_OUT_FIELDS,
    SIZES,
    STRATEGIES,
    Values,
    begins_with_weights,
    relevant,
)
from app.spec.schema import SwarmSpec, mistakes, parse

MOST_CONFIG_CHARACTERS = 2**20
"""Of a ``config.json`` that is pasted."""


_WITH_THE_STRATEGY = (
    "target_batch_size",
    "max_grad_norm",
    "schedule.warmup_epochs",
    "schedule.total_epochs",
    "stop.epochs",
)
"""What depends on the samples of an epoch, which differ by the strategy."""


def check(values: Values) -> tuple[SwarmSpec | None, dict[str, SpecError]]:
    """Build and check the spec; returns it, or None and the errors by the form's field name."""
    content, wrong = _content(values)
    wrong = {
        _form_field(field, error, values): _reworded(error)
        for field, error in mistakes(content).items()
        if begins_with_weights(values) or not field.startswith("model_config")
    } | wrong
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


def strategy_fields() -> tuple[str, ...]:
    """The names of all fields that `strategy_values` may give a text."""
    of_one = tuple(f"training_params.{strategy}." for strategy in STRATEGIES)
    return (
        *(f"training_params.{name}" for name in ("strategy", *_WITH_THE_STRATEGY)),
        *(name for name in DEFAULTS if name.startswith(of_one)),
    )


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
    for name, text in values.items():
        part = name.partition(".")[0]
        is_ours = part in ("model_config", "organiser") or name in _FORM_ONLY
        if (text.strip() or name == _PROMPTS) and not is_ours and relevant(name, values):
            _set_nested(content, name, _value(name, text))
    data = content["dataset_info"]
    if (parts := data.get("parts")) is not None:  # numbered by their names
        data["parts"] = [parts[number] for number in sorted(parts, key=int)]
    match values.get("evaluation.text", "share"):
        case "never":
            _set_nested(content, "training_params.evaluation.every_epochs", 0)
        case source if HELD_OUT_FIELDS[source]:
            _set_nested(content, "dataset_info.held_out.source", source)
    return content, wrong


_FORM_ONLY = frozenset({"evaluation.text", "pretrained.config", "training_params.adapters.train"})
"""Not fields of a spec, but what decides about some."""

_PROMPTS = "training_params.evaluation.prompts"
"""Without any, no samples are wanted."""


def _value(name: str, text: str) -> Any:
    if name.endswith(".paths"):
        return _lines(text)
    match name.partition(".")[2]:
        case "files":
            return [_pinned(line) for line in _lines(text)]
        case "evaluation.prompts":  # a space at the end of one means something
            return [line for line in text.splitlines() if line.strip()]
        case "adapters.targets":
            return text.replace(",", " ").split()
        case "diloco.bits" if text.strip().isdigit():
            return int(text)  # one of a few numbers, which pydantic takes for no text
    return text.strip()


def _pinned(line: str) -> dict[str, str]:
    """A line with an address and a hash."""
    url, _space, digest = line.partition(" ")
    return {"url": url, "sha256": digest.strip()}


def _set_nested(content: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
    content[last] = value


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


# --- the model


def _model(values: Values) -> tuple[dict[str, Any], dict[str, SpecError]]:
    if begins_with_weights(values):
        return _published(values.get("pretrained.config", ""))
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


def _published(text: str) -> tuple[dict[str, Any], dict[str, SpecError]]:
    """The model of a ``config.json``: of its many fields those that say how large it is. The
    trainer reads the others from the file itself."""
    field = "pretrained.config"
    try:
        config = json.loads(text[:MOST_CONFIG_CHARACTERS])
    except (ValueError, RecursionError):
        config = None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        error = SpecError(
            _("this is no config.json of a model type that this app trains."),
            field=field,
            remedy=_("Paste the whole file. The types are: {names}.").format(
                names=", ".join(FAMILIES)
            ),
        )
        return {"model_type": "llama"}, {field: error}
    return {"model_type": model_type, **architectures.said_sizes(model_type, config)}, {}


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
    if field.startswith("model_config") and begins_with_weights(values):
        return "pretrained.config"
    parts = field.split(".")
    while parts:
        if (name := ".".join(parts)) in values:
            return name
        parts.pop()
    below = [name for name in values if name.startswith(f"{field}.")]
    places = {name: error.message.find(name.rpartition(".")[2]) for name in below}
    named = sorted((name for name in below if places[name] >= 0), key=lambda name: places[name])
    return next(iter(named or below), field)
