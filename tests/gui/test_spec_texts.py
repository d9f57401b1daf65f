"""A spec in words: where its text for evaluations comes from, and when its run ends."""

import pytest

from app.spec import schema as specs
from app.spec.training import StopSpec
from tests.support.training.specs import HASH, SMALLEST
from ui.texts import costs, states
from ui.texts import specs as spec_texts

pytestmark = pytest.mark.gui

URL = "https://example.org/held-out.txt"


def test_text_for_evaluations_alone_is_named_where_the_data_is() -> None:
    held_out = {"source": "https", "url": URL, "sha256": HASH}
    spec = specs.parse(SMALLEST | {"dataset_info": {"source": "builtin", "held_out": held_out}})
    assert costs.data_line(spec) == f"Python's documentation; evaluated on {URL}"
    assert spec_texts.data_description(spec.data) == f"Built in: python-docs; evaluated on {URL}"


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        (StopSpec(), "when you stop it"),
        (StopSpec(unimproved_evaluations=1), "when 1 evaluation brings nothing better"),
        (
            StopSpec(epochs=5, unimproved_evaluations=10),
            "after 5 epochs or when 10 evaluations in a row bring nothing better",
        ),
    ],
)
def test_when_a_run_ends(stop: StopSpec, words: str) -> None:
    assert states.stop_condition(stop) == words


def test_a_mixture_says_how_much_comes_from_where() -> None:
    parts = [
        {"weight": 3, "data": {"source": "hub", "name": "us/words"}},
        {"weight": 1, "data": {"source": "slot", "label": "poems"}},
    ]
    spec = specs.parse(SMALLEST | {"dataset_info": {"source": "mixture", "parts": parts}})
    assert spec_texts.data_description(spec.data).splitlines() == [
        "75\u00a0%: Hugging Face data set us/words",
        "25\u00a0%: Files of yours for the slot poems",
    ]
