"""Pydantic's errors about a spec, by field, in words for the user."""

from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.common.errors import SpecError
from app.common.i18n import _
from app.common.validation import complaint, complaint_with_value, shortened


def first_mistake(error: ValidationError, *, model_types: Sequence[str]) -> SpecError:
    """The first error, with the number of those after it."""
    first, *others = by_field(error, model_types=model_types).values()
    if not others:
        return first
    more = _("({count} more after it)").format(count=len(others))
    return SpecError(first.message, field=first.field, remedy=f"{first.remedy} {more}".strip())


def by_field(error: ValidationError, *, model_types: Sequence[str]) -> dict[str, SpecError]:
    """All errors by the dotted name of the field. model_types: those that a spec may name."""
    found: dict[str, SpecError] = {}
    for detail in error.errors():
        field = _field_name(detail)
        message, remedy = _message_and_remedy(detail, field, model_types)
        found.setdefault(field, SpecError(message, field=field, remedy=remedy))
    return found


_BRANCHES = {
    "dataset_info": {"builtin", "files", "https", "hub", "slot"},
    "tokenizer": {"bytes", "file", "slot"},
    "micro_batch_size": {"constrained-int", "literal['auto']"},
}
"""After these fields, which are unions, pydantic's location names the branch that it tried."""


_OF_TWO_FIELDS = ("target_batch_size", "micro_batch_size")
"""Our own types of errors that concern two fields: each is called after the field to name."""


def _field_name(detail: ErrorDetails) -> str:
    parts: list[str] = []
    behind = ""
    for part in map(str, detail["loc"]):
        if part not in _BRANCHES.get(behind, ()):
            parts.append(part)
            behind = part
        else:
            behind = ""
    if detail["type"] in _OF_TWO_FIELDS:  # pydantic names their parent
        parts.append(detail["type"])
    return ".".join(parts) or "spec"


def _message_and_remedy(
    detail: ErrorDetails, field: str, model_types: Sequence[str]
) -> tuple[str, str]:
    name = field.rpartition(".")[2]
    mismatch = _pattern_messages().get(name)
    match detail["type"]:
        case "missing":
            return _("is missing."), _("Add it to the spec.")
        case "extra_forbidden":
            return _("is not a field of a spec."), _("Remove it, or check its spelling.")
        case "literal_error" if name == "model_type":
            text = _("{value} is not a model type this app trains.")
            remedy = _("Use one of: {names}.").format(names=", ".join(model_types))
            return text.format(value=shortened(detail["input"])), remedy
        case "string_pattern_mismatch" if mismatch:
            return mismatch.format(value=shortened(detail["input"])), _("Correct the value.")
        case "value_error" | "target_batch_size" | "micro_batch_size":
            return _("{complaint}.").format(complaint=complaint(detail)), ""
    return complaint_with_value(detail), _("Correct the value.")


def _pattern_messages() -> dict[str, str]:
    """From a field's name to the error text for a value that doesn't match its pattern."""
    return {
        "label": _("{value} is not a label of letters, digits, '-' and '_', 64 at most."),
        "url": _("{value} is not an address that begins with https://."),
        "sha256": _("{value} is not 64 digits of 0-9 and a-f."),
        "name": _("{value} is not a name such as owner/data-set."),
    }
