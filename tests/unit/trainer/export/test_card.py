"""The model card: the run's facts, nothing private, and others' texts as plain text."""

import json
from typing import Any

import msgspec
import pytest
import yaml

from app.evaluation_messages import Evaluated
from app.spec import schema
from app.takeout.messages import ExportFacts
from app.trainer.export.card import CardFacts, card, plain
from tests.support.training.specs import HASH, PEER, SMALLEST

EVALUATION = Evaluated(
    epoch=1000, loss=2.0, bits_per_byte=2.885, tokens=12_288, seconds=1.0, time=0.0
)


def text_of(
    *,
    run: ExportFacts | None = None,
    evaluation: Evaluated | None = None,
    exact: bool = True,
    **changes: Any,
) -> str:
    spec = schema.parse(SMALLEST | changes)
    return card(
        CardFacts(
            spec=spec,
            run=run or ExportFacts(),
            epoch=1000,
            parameters=1_234_567,
            evaluation=evaluation,
            exact_tokenizer=exact,
        )
    )


def test_it_says_what_was_trained_and_how_long() -> None:
    text = text_of(title="A swarm", run=ExportFacts(since=0.0, contributors=("Ada", "Bob")))
    for said in (
        *("# A swarm", "`gpt2` of 1,234,567 parameters", "Epochs: 1,000", "64 samples"),
        *("about 2,048,000", "since 1970-01-01", "Python's own documentation"),
        *("- Ada\n- Bob", "AutoModelForCausalLM.from_pretrained"),
    ):
        assert said in text
    assert "Who took part." not in text


def test_it_says_what_is_not_known() -> None:
    text = text_of()
    for said in ("Licence: the run states none", "Evaluation: none", "Who took part."):
        assert said in text


def test_it_says_how_well_the_weights_read() -> None:
    text = text_of(evaluation=EVALUATION)
    for said in ("On 12,288 tokens", "these weights had a loss of 2.0000", "perplexity of 7.39"):
        assert said in text
    assert "Evaluation: none" not in text
    earlier = text_of(evaluation=msgspec.structs.replace(EVALUATION, epoch=990))
    assert "the weights of epoch 990, while these are of epoch 1,000, had" in earlier


ABOUT = {
    "purpose": "Old letters",
    "organiser": "The library",
    "licence": "CC-BY-4.0",
    "contact": "ada@a.example",
}


def test_it_says_what_the_invite_says() -> None:
    text = text_of(about=ABOUT)
    for said in ("What for, as its invite says: Old letters", "Run by, as its invite says: The"):
        assert said in text
    assert r"Licence of the weights, as its invite says: CC\-BY\-4.0" in text
    assert yaml.safe_load(text.split("---\n", 2)[1])["license"] == "cc-by-4.0"
    assert ABOUT["contact"].partition("@")[2] not in text
    for unknown in ("states none", "doesn't say"):
        assert unknown not in text
        assert unknown in text_of()


def test_a_licence_that_no_hub_knows_is_a_text() -> None:
    text = text_of(about={"licence": "Ask us first"})
    assert "Ask us first" in text
    assert "license" not in yaml.safe_load(text.split("---\n", 2)[1])


def test_a_hub_reads_its_head() -> None:
    data = {"source": "hub", "name": "ada/words", "revision": "main"}
    _empty, head, rest = text_of(dataset_info=data).split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["cotrain", "hivemind", "gpt2"],
        "datasets": ["ada/words"],
    }
    assert "(https://huggingface.co/datasets/ada/words)" in rest


SECRET = "hunter2"


@pytest.mark.parametrize(
    "data",
    [
        {"source": "files", "paths": [f"/home/{SECRET}/diary.txt"]},
        {"source": "builtin", "tokenizer": {"kind": "file", "path": f"/home/{SECRET}/words.json"}},
        {
            "source": "https",
            "url": f"https://ada:{SECRET}@example.org/a?k={SECRET}",
            "sha256": HASH,
        },
    ],
    ids=lambda data: data["source"],
)
def test_nothing_private_stands_in_it(data: dict[str, Any]) -> None:
    text = text_of(dataset_info=data, initial_peers=[PEER])
    assert SECRET not in text
    assert "203.0.113.7" not in text


HOSTILE = "x](javascript:1) <script>a</script> **b** `c` # d | e\\"


def test_texts_of_others_are_plain() -> None:
    text = text_of(
        title=HOSTILE,
        about=dict.fromkeys(("purpose", "organiser", "licence"), HOSTILE),
        run=ExportFacts(contributors=(HOSTILE, "\n# header\n", "a\u202eb")),
    )
    assert "<script>" not in text
    assert "](javascript" not in text
    assert "\n# header" not in text
    assert "\u202e" not in text
    assert plain("*a*_b_") == r"\*a\*\_b\_"


def test_a_field_can_not_leave_its_block() -> None:
    text = text_of(model_config={"model_type": "gpt2", "activation_function": "```\n# out"})
    block = text.split("## The model's config\n\n")[1]
    assert block.count("```") == 2
    assert json.loads(
        block.removeprefix("```json\n").removesuffix("\n```\n").replace("` ` `", "```")
    )


def test_many_names_are_cut() -> None:
    text = text_of(run=ExportFacts(contributors=tuple(f"m{n}" for n in range(250))))
    assert "- and 50 more" in text


def test_who_needs_another_tokenizer_is_told() -> None:
    assert "PreTrainedTokenizerFast" in text_of(exact=False)
    assert "PreTrainedTokenizerFast" not in text_of()
