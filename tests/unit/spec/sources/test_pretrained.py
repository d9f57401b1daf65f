"""Specs that begin with weights: what they must say, and what they may not name."""

from typing import Any

import pytest

from app.common.errors import SpecError
from app.spec import invite, schema
from tests.support.training.specs import HASH, SMALLEST

COMMIT = "0123456789" * 4
HUB = {"source": "hub", "name": "us/model", "revision": COMMIT}
URL = "https://example.org/model/"
FILES = [{"url": URL + name, "sha256": HASH} for name in ("config.json", "model.safetensors")]
SIZES = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 256}


def content(pretrained: Any, **fields: Any) -> dict[str, Any]:
    model = {"model_type": "gpt2", **SIZES, **fields}
    return {**SMALLEST, "model_config": model, "pretrained": pretrained}


@pytest.mark.parametrize(
    "pretrained", [HUB, HUB | {"bytes": 5}, {"source": "https", "files": FILES}]
)
def test_it_survives_an_invite(pretrained: dict[str, Any]) -> None:
    found = schema.parse(content(pretrained))
    assert schema.parse(found.to_json()) == found
    assert invite.read_link(invite.as_link(found)) == found


def test_a_spec_without_weights_says_nothing_of_them() -> None:
    assert "pretrained" not in schema.parse(SMALLEST).to_json()


@pytest.mark.parametrize(
    ("pretrained", "field"),
    [
        (HUB | {"revision": "main"}, "pretrained.revision"),
        (HUB | {"revision": COMMIT[:39]}, "pretrained.revision"),
        (HUB | {"name": "model"}, "pretrained.name"),
        (HUB | {"name": "../model"}, None),
        (HUB | {"code": "x"}, "pretrained.code"),
        ({"source": "files", "paths": ["/etc/passwd"]}, "pretrained"),
        ({"source": "https", "files": FILES[:1]}, "pretrained.files"),
        ({"source": "https", "files": FILES[1:] * 2}, "pretrained"),
        ({"source": "https", "files": [*FILES, FILES[1]]}, "pretrained"),
        ({"source": "https", "files": [*FILES, FILES[0] | {"url": URL + "a.bin"}]}, "pretrained"),
        (
            {"source": "https", "files": [*FILES, FILES[0] | {"url": "http://x/b.safetensors"}]},
            "pretrained.files.2.url",
        ),
    ],
)
def test_what_may_not_be_named_is_refused(pretrained: Any, field: str | None) -> None:
    if field is None:  # a name of the hub, which the hub doesn't know
        schema.parse(content(pretrained))
        return
    with pytest.raises(SpecError) as caught:
        schema.parse(content(pretrained))
    assert caught.value.field == field


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_must_be_said_for_the_preview(name: str) -> None:
    found = content(HUB)
    del found["model_config"][name]
    with pytest.raises(SpecError, match=f"weights to begin with need {name}, as"):
        schema.parse(found)


def test_common_names_of_sizes_will_do() -> None:
    found = content(HUB)
    del found["model_config"]["n_embd"]
    found["model_config"]["hidden_size"] = 32
    schema.parse(found)
