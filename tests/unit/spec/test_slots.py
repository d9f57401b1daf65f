"""A slot: its label and description are one line of harmless text."""

from typing import Any

import pytest

from app.common.errors import SpecError
from app.spec import schema as spec
from tests.support.training.specs import SMALLEST


def parsed(**slot: Any) -> spec.SwarmSpec:
    data = {"source": "slot", "label": "corpus"} | slot
    return spec.parse({**SMALLEST, "dataset_info": data})


@pytest.mark.parametrize(
    ("slot", "field"),
    [
        ({"label": ""}, "label"),
        ({"label": "../../etc/passwd"}, "label"),
        ({"label": "a" * 65}, "label"),
        ({"label": "a\nb"}, "label"),
        ({"label": "<b>"}, "label"),
        ({"description": "two\nlines"}, "description"),
        ({"description": "turned \u202e around"}, "description"),
        ({"description": "x" * 501}, "description"),
        ({"sha256": "ab"}, "sha256"),
        ({"bytes": -1}, "bytes"),
        ({"paths": ["/a"]}, "paths"),
        ({"tokenizer": {"kind": "slot"}}, "tokenizer.label"),
    ],
)
def test_wrong_slot_is_refused_by_its_field(slot: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        parsed(**slot)
    assert caught.value.field == f"dataset_info.{field}"


def test_two_slots_have_two_labels() -> None:
    with pytest.raises(SpecError, match="two labels"):
        parsed(tokenizer={"kind": "slot", "label": "corpus"})
    parsed(tokenizer={"kind": "slot", "label": "words"})
