"""Pydantic's validation errors in plain words and in the user's language.

Covers the error types that our models can raise; any other type keeps pydantic's English text.
"""

from typing import Any

from pydantic_core import ErrorDetails

from app.common.i18n import _, ngettext

MOST_CHARACTERS = 80
"""Longest quotation of a wrong value in an error."""


def complaint(detail: ErrorDetails) -> str:
    """What is wrong, as a phrase to put after the field's name: ``should be 1``."""
    context = _context(detail)
    if words := _templates(context).get(detail["type"]):
        return words.format(**context)
    return detail["msg"].removeprefix("Value error, ")


def complaint_with_value(detail: ErrorDetails) -> str:
    """What is wrong, as a sentence that quotes the value: ``should be 1 (it is 2).``"""
    return _("{complaint} (it is {value}).").format(
        complaint=complaint(detail), value=shortened(detail["input"])
    )


def shortened(value: object) -> str:
    """The value's ``repr``, cut to `MOST_CHARACTERS`."""
    text = repr(value)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _context(detail: ErrorDetails) -> dict[str, Any]:
    """The error's values for the text: 1.0 as 1, a literal's choices without the English "or"."""
    context: dict[str, Any] = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in detail.get("ctx", {}).items()
    }
    if "expected" in context:
        context["expected"] = context["expected"].replace(" or ", ", ")
    return context


def _templates(context: dict[str, Any]) -> dict[str, str]:
    """From pydantic's error type to a template for the values of `_context`."""
    boolean, table = _("should be true or false"), _("should be a valid dictionary")
    whole, number = _("should be a valid integer"), _("should be a valid number")
    several = ", " in context.get("expected", "")
    least, most = context.get("min_length", 0), context.get("max_length", 0)
    return {
        "bool_parsing": boolean,
        "bool_type": boolean,
        "extra_forbidden": _("is not a known field"),
        "finite_number": _("should be a finite number"),
        "float_parsing": number,
        "float_type": number,
        "greater_than": _("should be greater than {gt}"),
        "greater_than_equal": _("should be greater than or equal to {ge}"),
        "int_from_float": whole,
        "int_parsing": whole,
        "int_parsing_size": whole,
        "int_type": whole,
        "invalid_key": _("is not a valid name of a field"),
        "less_than": _("should be less than {lt}"),
        "less_than_equal": _("should be less than or equal to {le}"),
        "literal_error": _("should be one of {expected}") if several else _("should be {expected}"),
        "missing": _("is missing"),
        "model_attributes_type": table,
        "model_type": table,
        "string_pattern_mismatch": _("should match the pattern {pattern}"),
        "string_too_long": ngettext(
            "should have at most {max_length} character",
            "should have at most {max_length} characters",
            most,
        ),
        "string_too_short": ngettext(
            "should have at least {min_length} character",
            "should have at least {min_length} characters",
            least,
        ),
        "string_type": _("should be a valid string"),
        "string_unicode": _("should be a valid string"),
        "too_long": ngettext(
            "should have at most {max_length} item", "should have at most {max_length} items", most
        ),
        "too_short": ngettext(
            "should have at least {min_length} item",
            "should have at least {min_length} items",
            least,
        ),
        "tuple_type": _("should be a valid tuple"),
        "union_tag_invalid": _("has the {discriminator} '{tag}', which is none of {expected_tags}"),
        "union_tag_not_found": _("has no {discriminator}"),
    }
