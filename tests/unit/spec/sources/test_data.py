"""Tokenizers that are downloaded, and mixtures of sources, in a spec and with slots."""

from pathlib import Path
from typing import Any

import pytest

from app.common.errors import InviteError, SpecError
from app.spec import filling, invite, schema
from app.spec.estimate import estimate
from app.spec.sources.data import FileData, MixtureData, SlotData
from tests.support.training.specs import HASH, SMALLEST

COMMIT = "0123456789" * 4
HUB = {"kind": "hub", "name": "us/words", "revision": COMMIT, "bytes": 1000}
HTTPS = {"kind": "https", "url": "https://example.org/tokenizer.json", "sha256": HASH}
BUILTIN = {"source": "builtin"}
SLOT = {"source": "slot", "label": "x"}


def spec(data: dict[str, Any]) -> schema.SwarmSpec:
    return schema.parse(SMALLEST | {"dataset_info": data})


def mixture(*parts: dict[str, Any], **rest: Any) -> dict[str, Any]:
    listed = [{"weight": number + 0.5, "data": part} for number, part in enumerate(parts)]
    return {"source": "mixture", "parts": listed, **rest}


@pytest.mark.parametrize(
    "data",
    [
        BUILTIN | {"tokenizer": HUB},
        BUILTIN | {"tokenizer": HTTPS},
        mixture(BUILTIN, {"source": "slot", "label": "mine"}),
        mixture(BUILTIN, {"source": "hub", "name": "us/rows"}, tokenizer=HUB),
    ],
)
def test_they_survive_an_invite(data: dict[str, Any]) -> None:
    found = spec(data)
    assert invite.read_link(invite.as_link(found)) == found


def test_a_part_says_nothing_of_a_tokenizer() -> None:
    content = spec(mixture(BUILTIN, BUILTIN)).to_json()["dataset_info"]
    assert content["parts"][0]["data"] == {"source": "builtin", "name": "python-docs"}
    assert content["tokenizer"] == {"kind": "bytes"}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (BUILTIN | {"tokenizer": HUB | {"revision": "main"}}, "dataset_info.tokenizer.revision"),
        (BUILTIN | {"tokenizer": HUB | {"bytes": 0}}, "dataset_info.tokenizer.bytes"),
        (BUILTIN | {"tokenizer": HTTPS | {"url": "http://x"}}, "dataset_info.tokenizer.url"),
        (mixture(BUILTIN), "dataset_info.parts"),
        (mixture(*[BUILTIN] * 33), "dataset_info.parts"),
        (mixture(BUILTIN, BUILTIN | {"tokenizer": HUB}), "dataset_info.parts.1"),
        (mixture(BUILTIN, {"source": "slot"}), "dataset_info.parts.1.data.label"),
        (mixture(BUILTIN, mixture(BUILTIN, BUILTIN)), "dataset_info.parts.1.data"),
        (mixture(SLOT, SLOT), "dataset_info"),
        (mixture(BUILTIN, SLOT, tokenizer={"kind": "slot", "label": "x"}), "dataset_info"),
        (
            {"source": "mixture", "parts": [{"weight": 0, "data": BUILTIN}] * 2},
            "dataset_info.parts.0.weight",
        ),
    ],
)
def test_a_mistake_is_named(data: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(data)
    assert caught.value.field == field


# --- slots and paths in mixtures


def test_each_slot_of_a_mixture_is_filled(tmp_path: Path) -> None:
    found = spec(
        mixture(
            {"source": "slot", "label": "poems"},
            BUILTIN,
            {"source": "slot", "label": "prose"},
            tokenizer={"kind": "slot", "label": "words"},
        )
    )
    fields = [place.field for place in filling.places(found)]
    assert fields == [
        "dataset_info.parts.0.data.label",
        "dataset_info.parts.2.data.label",
        "dataset_info.tokenizer.label",
    ]
    files = {name: tmp_path / name for name in ("poems", "prose", "words")}
    for name, path in files.items():
        path.write_text(name)
    error = filling.unfilled(found, {name: files[name] for name in ("poems", "words")})
    assert error is not None
    assert error.field == fields[1]
    data = filling.filled(found, files).data
    assert isinstance(data, MixtureData)
    first, second, third = (part.data for part in data.parts)
    assert isinstance(first, FileData)
    assert isinstance(third, FileData)
    assert (first.paths, third.paths) == ((str(files["poems"]),), (str(files["prose"]),))
    assert second == found.data.parts[1].data  # type: ignore[union-attr]


def test_paths_in_a_mixture_never_leave_this_machine() -> None:
    own = spec(
        mixture(
            {"source": "files", "paths": ["/home/me/a"]},
            {"source": "slot", "label": "data"},
            {"source": "files", "paths": ["/home/me/b"], "format": "jsonl"},
        )
    )
    assert list(filling.paths(own)) == [
        "dataset_info.parts.0.data.paths",
        "dataset_info.parts.2.data.paths",
    ]
    shared = filling.emptied(own)
    assert "/home" not in invite.as_file(own).decode()
    assert isinstance(shared.data, MixtureData)
    slots = [part.data for part in shared.data.parts if isinstance(part.data, SlotData)]
    assert [slot.label for slot in slots] == ["data-2", "data", "data-3"]
    assert slots[2].format == "jsonl"
    assert schema.parse(shared.to_json()) == shared
    with pytest.raises(InviteError, match="names files of this machine"):
        filling.refuse_paths(own)


def test_downloads_and_all_sources_are_in_the_estimate() -> None:
    found = estimate(spec(mixture(BUILTIN, SLOT, tokenizer=HUB)), device="cpu")
    parts = {(part.name, part.size) for part in found.disk.parts[1:]}
    assert parts == {("Tokenizer", 1000), ("Training data", 960_000), ("Training data", None)}
    unknown = estimate(spec(BUILTIN | {"tokenizer": HTTPS}), device="cpu").disk.parts[1]
    assert (unknown.size, unknown.why) == (2**26, "downloaded once, at most")
