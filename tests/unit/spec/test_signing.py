"""A signed spec: what the signature covers, and what becomes of a changed one."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import InviteError, SpecError
from app.spec import invite
from app.spec import schema as spec
from app.spec.signing import signed
from tests.support.organiser.organisers import organiser
from tests.support.training.specs import PEER, SMALLEST, replaced

KEY = organiser()


def made(**changes: Any) -> spec.SwarmSpec:
    return signed(spec.parse(SMALLEST | changes), KEY, name="Ada", closed=True)


def test_a_signed_invite_survives_file_and_link() -> None:
    ours = made()
    assert ours.organiser is not None
    assert (ours.organiser.name, ours.organiser.key, ours.organiser.closed) == (
        "Ada",
        KEY.public_key,
        True,
    )
    assert invite.read_link(invite.as_link(ours)) == ours
    assert invite.read(invite.as_file(ours), name="file") == ours


def test_what_others_get_of_a_spec_with_our_paths_is_signed(tmp_path: Path) -> None:
    words = tmp_path / "tokenizer.json"
    words.write_text("{}", encoding="utf-8")
    tokenizer = {"kind": "file", "path": str(words)}
    ours = made(dataset_info={"source": "files", "paths": [str(tmp_path)], "tokenizer": tokenizer})
    assert spec.parse(ours.to_json()) == ours
    shared = invite.read(invite.as_file(ours), name="file")
    assert shared.data.source == "slot"
    assert shared.organiser == ours.organiser
    with pytest.raises(InviteError, match="names files of this machine"):
        invite.read(json.dumps(ours.to_json()).encode(), name="file")


def test_whoever_shares_it_may_refresh_the_addresses() -> None:
    shared = invite.shared(made(), [PEER])
    assert invite.read_link(invite.as_link(shared)).initial_peers == (PEER,)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("run_id",), "another"),
        (("title",), "another"),
        (("local",), True),
        (("training_params", "optimizer", "learning_rate"), 1.0),
        (("training_params", "seed"), 2**60),
        (("model_config",), {"model_type": "gpt2", "n_layer": 3}),
        (("dataset_info",), {"source": "slot", "label": "other"}),
        (("organiser", "name"), "Eve"),
        (("organiser", "closed"), False),
        (("organiser", "key"), organiser().public_key),
        (("organiser", "signature"), "A" * 86 + "=="),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_changed_invite_is_refused(path: tuple[str, ...], value: object) -> None:
    content = replaced(json.loads(invite.as_file(made(title="Docs"))), path, value)
    with pytest.raises(InviteError) as caught:
        invite.read(json.dumps(content).encode(), name="file")
    assert caught.value.field == "organiser.signature"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "two\nlines"),
        ("name", "\u202edisguised"),
        ("name", "n" * 61),
        ("key", "short"),
        ("signature", "short"),
        ("closed", "perhaps"),
        ("code", "evil"),
    ],
)
def test_a_malformed_organiser_is_named(field: str, value: object) -> None:
    content = replaced(
        made().to_json(), ("organiser",), made().to_json()["organiser"] | {field: value}
    )
    with pytest.raises(SpecError) as caught:
        spec.parse(content)
    assert caught.value.field == f"organiser.{field}"


def test_an_unsigned_invite_reads_as_before() -> None:
    assert "organiser" not in spec.parse(SMALLEST).to_json()


def test_what_can_not_be_signed_is_said() -> None:
    training = {**SMALLEST["training_params"], "seed": 2**60}
    with pytest.raises(SpecError, match="can't be signed"):
        made(training_params=training)


def test_numbers_of_the_backend_may_fill_what_was_left_open() -> None:
    content = json.loads(invite.as_file(made())) | {"session_id": 7, "training_id": "uuid"}
    found = invite.read(json.dumps(content).encode(), name="file")
    assert (found.session_id, found.training_id) == (7, "uuid")
    shared = json.loads(invite.as_file(found))
    assert "session_id" not in shared  # as it was signed
    assert invite.read(json.dumps(shared).encode(), name="file").organiser == found.organiser


def test_numbers_that_were_signed_stay() -> None:
    numbered = made().model_copy(update={"session_id": 7, "organiser": None})
    ours = signed(numbered, organiser(), name="Ada", closed=False)
    content = json.loads(invite.as_file(ours))
    assert content["session_id"] == 7
    for number in (8, None):
        with pytest.raises(InviteError):
            invite.read(json.dumps(content | {"session_id": number}).encode(), name="file")
