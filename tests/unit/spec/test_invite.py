"""Invites: any input gives a spec or an `InviteError`."""

import base64
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.common.errors import InviteError
from app.demo import demo_spec
from app.spec import filling, invite
from app.spec import schema as spec
from app.spec.estimate import estimate
from app.spec.schema import MAX_SPEC_BYTES
from tests.support.training.specs import ANY_JSON, PEER, SMALLEST, SPECS, paths_of, replaced

FOUND = spec.parse(SMALLEST)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "swarm.cotrain"


def link_of(content: bytes) -> str:
    coded = base64.urlsafe_b64encode(zlib.compress(content)).rstrip(b"=").decode()
    return f"cotrain://join?v=1&spec={coded}"


def packed(content: bytes) -> bytes:
    return zlib.compress(content)


# --- files ---------------------------------------------------------------------------------------


def test_file_is_read_back(file: Path) -> None:
    invite.save(FOUND, file)
    assert invite.load(str(file)) == FOUND


def test_file_has_its_version(file: Path) -> None:
    invite.save(FOUND, file)
    assert json.loads(file.read_bytes())["version"] == 1


def test_largest_file_is_read(file: Path) -> None:
    text = json.dumps(SMALLEST)
    file.write_text(text + " " * (MAX_SPEC_BYTES - len(text)), encoding="utf-8")
    assert invite.load_file(file).run_id == "run"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps(SMALLEST).encode().ljust(MAX_SPEC_BYTES + 1), "too large"),
        (b"", "holds some other text"),
        (b"hello\n", "holds some other text"),
        (b"PK\x03\x04", "holds some other text"),
        (b"\xff\xfe\x00", "holds no text"),
        (b'{"run_id": ', "not valid JSON"),
        (b"1" * 5000, "holds some other text"),
        (b"[" * 60_000, "holds some other text"),
        (b'{"a":' * 10_000, "not valid JSON"),
        (b'{"run_id": NaN}', "NaN is no number"),
        (json.dumps([SMALLEST]).encode(), "no JSON object"),
        (b"null", "no JSON object"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_file_that_is_no_spec_is_named(file: Path, content: bytes, told: str) -> None:
    file.write_bytes(content)
    with pytest.raises(InviteError, match=told) as caught:
        invite.load_file(file)
    assert caught.value.field == str(file)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("source", "told"),
    [("no.cotrain", "No such file"), ("a\0b", "null"), ("", "folder"), (".", "folder")],
)
def test_missing_file_is_named(source: str, told: str) -> None:
    with pytest.raises(InviteError, match=told) as caught:
        invite.load(source)
    assert caught.value.remedy


def test_pipe_is_refused_without_reading(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InviteError, match="no regular file"):
        invite.load(str(tmp_path / "pipe"))


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InviteError, match="can't be written") as caught:
        invite.save(FOUND, tmp_path / "missing" / "a.cotrain")
    assert caught.value.remedy


def test_mistake_is_named_by_field() -> None:
    content = replaced(SMALLEST, ("training_params", "target_batch_size"), -1)
    with pytest.raises(InviteError) as caught:
        invite.read_text(json.dumps(content))
    assert caught.value.field == "training_params.target_batch_size"


@pytest.mark.parametrize(("version", "told"), [(2, "version 2"), (None, "no version")])
def test_other_version_asks_for_an_update(version: object, told: str) -> None:
    with pytest.raises(InviteError, match=told) as caught:
        invite.read_text(json.dumps({**SMALLEST, "version": version}))
    assert caught.value.field == "version"


@pytest.mark.parametrize("value", ['"\\ud800"', "1e999"])
def test_value_that_cannot_be_encoded_is_refused(value: str) -> None:
    text = json.dumps(SMALLEST).replace('"gpt2"', f'"gpt2", "n_embd": {value}')
    with pytest.raises(InviteError):
        invite.read_text(text)


# --- links ---------------------------------------------------------------------------------------


def test_link_of_the_demo_can_be_pasted_anywhere() -> None:
    found = invite.shared(demo_spec(), [PEER, PEER.replace("203.0.113.7", "192.168.1.7")])
    link = invite.as_link(found)
    assert len(link) <= 2000
    assert link.isascii()
    assert not any(character.isspace() for character in link)
    assert invite.load(link) == found


@pytest.mark.parametrize(
    "around",
    [
        "  {}\n",
        "<{}>",
        '"{}"',
        "COTRAIN://JOIN?{query}",
        "cotrain:join?{query}",
        "cotrain://join/?{query}",  # browsers write it so
        "{}#from-a-page",
    ],
)
def test_link_is_read_despite_what_people_and_browsers_add(around: str) -> None:
    link = invite.as_link(FOUND)
    assert invite.read_text(around.format(link, query=link.partition("?")[2])) == FOUND


def test_wrapped_link_is_read() -> None:
    link = invite.as_link(FOUND)
    wrapped = "\r\n".join(link[start : start + 60] for start in range(0, len(link), 60))
    assert invite.read_text(wrapped) == FOUND


GOOD = invite.as_link(FOUND)


@pytest.mark.parametrize(
    ("link", "told"),
    [
        (GOOD[:-10], "damaged|not complete"),
        (GOOD[: len("cotrain://jo")], "not complete"),
        ("cotrain://leave?v=1", "no invite"),
        ("cotrain://join?", "no version"),
        ("cotrain://join?v=1", "damaged|not complete"),
        (GOOD.replace("v=1", "v=2"), "version 2"),
        (GOOD.replace("v=1&", ""), "no version"),
        (GOOD + "!", "damaged"),
        (GOOD + "&a=1" * 20, "damaged"),
        (GOOD + "A" * invite.MAX_LINK, "too long"),
        (link_of(b"{"), "not valid JSON"),
        ("https://example.org/join", "no invite"),
        ("", "no invite"),
    ],
)
def test_wrong_link_says_what_to_do(link: str, told: str) -> None:
    with pytest.raises(InviteError, match=told) as caught:
        invite.read_text(link)
    assert caught.value.remedy


def test_decompression_bomb_is_refused() -> None:
    bomb = link_of(b" " * (16 * 2**20))
    assert len(bomb) < invite.MAX_LINK
    with pytest.raises(InviteError, match="too large"):
        invite.read_link(bomb)


def test_bytes_after_the_end_are_refused() -> None:
    coded = base64.urlsafe_b64encode(packed(json.dumps(SMALLEST).encode()) + b"more").decode()
    with pytest.raises(InviteError, match="not complete"):
        invite.read_link(f"cotrain://join?v=1&spec={coded.rstrip('=')}")


# --- addresses -----------------------------------------------------------------------------------

LOOPBACK = PEER.replace("203.0.113.7", "127.0.0.1")
NEAR = PEER.replace("203.0.113.7", "192.168.1.7")


def test_own_addresses_come_first_and_once() -> None:
    old = FOUND.model_copy(update={"initial_peers": (PEER, NEAR)})
    assert invite.shared(old, [NEAR]).initial_peers == (NEAR, PEER)


def test_loopback_is_left_out_if_there_are_other_addresses() -> None:
    assert invite.shared(FOUND, [LOOPBACK, NEAR]).initial_peers == (NEAR,)
    assert invite.shared(FOUND, [LOOPBACK]).initial_peers == (LOOPBACK,)


def test_addresses_are_limited_to_a_specs_maximum() -> None:
    many = [NEAR.replace("8080", str(port)) for port in range(1000, 1100)]
    found = invite.shared(FOUND, many)
    assert spec.parse(found.to_json()) == found


# --- any input -----------------------------------------------------------------------------------


def is_whole(found: spec.SwarmSpec) -> bool:
    return (
        invite.read_text(invite.as_link(found))
        == found
        == invite.read_text(invite.as_file(found).decode())
    )


def read_or_refused(text: str | bytes) -> None:
    try:
        found = (
            invite.read_text(text) if isinstance(text, str) else invite.read(text, name="invite")
        )
    except InviteError as error:
        assert error.field  # noqa: PT017  the input may be valid
        assert error.message  # noqa: PT017
        return
    assert is_whole(found)


@settings(deadline=None, max_examples=300)
@given(text=st.text())
@example(text="cotrain:")
@example(text="cotrain://join?v=1&spec=\ud800")
@example(text='{"a": "\ud800"}')
def test_any_text_is_an_invite_or_refused(text: str) -> None:
    read_or_refused(text)


@settings(deadline=None, max_examples=300)
@given(content=st.binary())
def test_any_bytes_are_an_invite_or_refused(content: bytes) -> None:
    read_or_refused(content)
    read_or_refused(link_of(content))


@settings(deadline=None, max_examples=300)
@given(query=st.text(st.sampled_from("v=1&specABab09-_%;+"), max_size=80))
def test_any_query_is_an_invite_or_refused(query: str) -> None:
    read_or_refused(f"cotrain://join?{query}")


@settings(deadline=None, max_examples=300)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_any_damaged_byte_is_found_or_harmless(place: int, byte: int) -> None:
    content = bytearray(packed(invite.as_file(FOUND)))
    content[place % len(content)] = byte
    coded = base64.urlsafe_b64encode(bytes(content)).rstrip(b"=").decode()
    read_or_refused(f"cotrain://join?v=1&spec={coded}")


@settings(deadline=None)
@given(content=ANY_JSON)
def test_any_json_is_an_invite_or_refused(content: Any) -> None:
    read_or_refused(json.dumps(content))


@settings(deadline=None, max_examples=200)
@given(data=st.data(), content=SPECS, value=ANY_JSON)
def test_any_change_is_an_invite_or_refused(data: st.DataObject, content: Any, value: Any) -> None:
    path = data.draw(st.sampled_from(paths_of(content)))
    read_or_refused(json.dumps(replaced(content, path, value)))


@settings(deadline=None)
@given(content=SPECS)
def test_any_spec_survives_file_and_link(content: dict[str, Any]) -> None:
    found = spec.parse(content)
    passed_on = filling.emptied(found)
    assert invite.read(invite.as_file(found), name="file") == passed_on
    if len(link := invite.as_link(found)) <= invite.MAX_LINK:
        assert invite.read_link(link) == passed_on


@settings(deadline=None)
@given(content=SPECS)
def test_any_invite_is_estimated_or_refused_by_field(content: dict[str, Any]) -> None:
    try:
        found = estimate(spec.parse(content), device="gpu")
    except spec.SpecError as error:
        assert error.field.startswith("model_config.")  # noqa: PT017
        return
    assert found.memory.total > 0


def test_what_is_not_known_is_left_out() -> None:
    assert not {"session_id", "training_id", "title"} & set(json.loads(invite.as_file(FOUND)))
    assert invite.read_link(invite.as_link(FOUND)) == FOUND
