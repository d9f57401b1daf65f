"""Each pydantic error that our models can raise gets a plain text."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from app.common import validation


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Everything(BaseModel):
    """A field for each way to be wrong."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    flag: bool = False
    share: float = Field(0.5, gt=0, lt=1)
    count: int = Field(1, ge=1, le=10)
    choice: Literal["a", "b", "c"] = "a"
    only: Literal[1] = 1
    code: str = Field("ab", pattern="^[a-z]+$", min_length=1, max_length=4)
    list: tuple[int, ...] = Field((1,), min_length=1, max_length=2)
    cat: Cat | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


# pydantic's error type, the field, the wrong value, the plain text
WORDS = [
    ("bool_parsing", "flag", "perhaps", "should be true or false"),
    ("bool_type", "flag", [], "should be true or false"),
    ("extra_forbidden", "colour", "red", "is not a known field"),
    ("finite_number", "share", float("nan"), "should be a finite number"),
    ("float_parsing", "share", "half", "should be a valid number"),
    ("float_type", "share", [], "should be a valid number"),
    ("greater_than", "share", 0, "should be greater than 0"),
    ("greater_than_equal", "count", 0, "should be greater than or equal to 1"),
    ("int_from_float", "count", 1.5, "should be a valid integer"),
    ("int_parsing", "count", "one", "should be a valid integer"),
    ("int_parsing_size", "count", "1" * 5000, "should be a valid integer"),
    ("int_type", "count", [], "should be a valid integer"),
    ("invalid_key", 7, 1, "is not a valid name of a field"),
    ("less_than", "share", 1, "should be less than 1"),
    ("less_than_equal", "count", 11, "should be less than or equal to 10"),
    ("literal_error", "choice", "d", "should be one of 'a', 'b', 'c'"),
    ("literal_error", "only", 2, "should be 1"),
    ("missing", "cat", {}, "is missing"),
    ("model_attributes_type", "pet", 1, "should be a valid dictionary"),
    ("model_type", "cat", 1, "should be a valid dictionary"),
    ("string_pattern_mismatch", "code", "A", "should match the pattern ^[a-z]+$"),
    ("string_too_long", "code", "abcde", "should have at most 4 characters"),
    ("string_too_short", "code", "", "should have at least 1 character"),
    ("string_type", "code", 1, "should be a valid string"),
    ("string_unicode", "code", "\ud800", "should be a valid string"),
    ("too_long", "list", [1, 2, 3], "should have at most 2 items"),
    ("too_short", "list", [], "should have at least 1 item"),
    ("tuple_type", "list", 1, "should be a valid tuple"),
    ("union_tag_invalid", "pet", {"kind": "ox"}, "has the 'kind' 'ox', which is none of "),
    ("union_tag_not_found", "pet", {}, "has no 'kind'"),
]


def detail_of(content: Any) -> ErrorDetails:
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate(content)
    return caught.value.errors()[0]


@pytest.mark.parametrize(("kind", "field", "value", "words"), WORDS, ids=[row[0] for row in WORDS])
def test_error_type_has_its_plain_text(kind: str, field: str, value: Any, words: str) -> None:
    detail = detail_of({field: value})
    assert detail["type"] == kind
    assert validation.complaint(detail).startswith(words)


def test_every_plain_text_is_tested() -> None:
    assert {row[0] for row in WORDS} == set(validation._templates({}))


def test_other_error_types_keep_pydantics_text() -> None:
    detail = ErrorDetails(type="x", loc=(), msg="Value error, no", input=1)
    assert validation.complaint_with_value(detail) == "no (it is 1)."


def test_a_long_value_is_cut_short() -> None:
    detail = detail_of({"code": "a" * 1000})
    assert len(validation.complaint_with_value(detail)) < 140
