"""What is wrong with a spec, by field, in words: from pydantic's errors to `SpecError`."""

from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.common.errors import SpecError
from app.common.i18n import _
from app.common.validation import complaint, complaint_with_value, shortened


def first_of(error: ValidationError) -> SpecError:
    """The error that names the first wrong field, and holds all of them."""
    first, *others = found = list(by_field(error).values())
    if not others:
        return first
    more = _("({count} more after it)").format(count=len(others))
    remedy = f"{first.remedy} {more}".strip()
    return SpecError(first.message, field=first.field, remedy=remedy, all=found)


def by_field(error: ValidationError) -> dict[str, SpecError]:
    """The first error of each wrong field, by the field's dotted name."""
    found: dict[str, SpecError] = {}
    details = error.errors()
    for detail in details:
        if detail["type"] == "too_short" and _is_blamed_below(detail, details):
            continue  # pydantic doesn't count the items that are wrong themselves
        field = _field_name(detail)
        message, remedy = _message_and_remedy(detail, field)
        found.setdefault(field, SpecError(message, field=field, remedy=remedy))
    return found


def _is_blamed_below(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether there are errors of the items, too, of what an error is about."""
    where = detail["loc"]
    return any(each["loc"][: len(where)] == where for each in details if each is not detail)


_BRANCHES = {
    "dataset_info": {"builtin", "files", "https", "hub", "mixture", "slot"},
    "data": {"builtin", "files", "https", "hub", "slot"},
    "held_out": {"https", "hub"},
    "tokenizer": {"bytes", "file", "slot", "hub", "https"},
    "pretrained": {"hub", "https"},
    "micro_batch_size": {"constrained-int", "literal['auto']"},
    "timeout_seconds": {"constrained-float", "literal['auto']"},
}
"""After these fields, which are unions, pydantic's location names the branch that it tried."""


_OF_TWO_FIELDS = ("target_batch_size", "micro_batch_size")
"""Our own types of errors that concern two fields: each is called after the field to name."""


_OUR_OWN = {"value_error", "unsaid_sizes", "wrong_adapters", "wrong_targets", *_OF_TWO_FIELDS}
"""Types of errors whose message is ours."""

_OF_THE_SPEC = {
    "wrong_signature": "organiser signature",
    "unsaid_sizes": "model_config",
    "wrong_adapters": "training_params adapters",
    "wrong_targets": "training_params adapters targets",
}
"""Our own types of errors that concern the whole spec, and the field to name."""


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
    parts += _OF_THE_SPEC.get(detail["type"], "").split()
    return ".".join(parts) or "spec"


def _message_and_remedy(detail: ErrorDetails, field: str) -> tuple[str, str]:
    name = field.rpartition(".")[2]
    mismatch = _pattern_messages().get(name)
    match detail["type"]:
        case "missing":
            return _("is missing."), _("Add it to the spec.")
        case "extra_forbidden":
            return _("is not a field of a spec that this version of the app knows."), _(
                "Remove it, check its spelling, or update the app if a newer one made the spec."
            )
        case "literal_error" if name == "model_type":
            text = _("{value} is not a model type this app trains.")
            expected = detail["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
            remedy = _("Use one of: {names}.").format(names=expected)
            return text.format(value=shortened(detail["input"])), remedy
        case "string_pattern_mismatch" if mismatch:
            return mismatch.format(value=shortened(detail["input"])), _("Correct the value.")
        case "wrong_signature":
            return (
                _("isn't the organiser's over this spec: the invite was changed, or is forged."),
                _("Ask the organiser for the invite again."),
            )
        case kind if kind in _OUR_OWN:
            return _("{complaint}.").format(complaint=complaint(detail)), ""
    return complaint_with_value(detail), _("Correct the value.")


def _pattern_messages() -> dict[str, str]:
    """From a field's name to the error text for a value that doesn't match its pattern."""
    return {
        "url": _("{value} is not an address that begins with https://."),
        "sha256": _("{value} is not 64 digits of 0-9 and a-f."),
        "name": _("{value} is not a name such as owner/data-set."),
        "label": _("{value} is not a label of letters, digits, '-' and '_', 64 at most."),
        "revision": _("{value} is not a commit of 40 digits of 0-9 and a-f."),
        "key": _("{value} is not a public key of 44 characters."),
        "signature": _("{value} is not a signature of 88 characters."),
    }
