"""Commands and answers: what the right key signed gets through, and nothing else."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.signing import MachineKey, canonical
from app.lab import messages
from app.lab.messages import (
    LIFE_MS,
    MOST_ORDER_BYTES,
    SIGNATURE_BYTES,
    ChangeSettings,
    ExportModel,
    LabCommand,
    LabFlaw,
    LabOrder,
    LabVerdict,
    MoveToSwarm,
    PauseTraining,
    StartTraining,
    StopTraining,
    digest_of,
    in_short,
    new_answer,
    new_order,
    open_answer,
    open_order,
    seal_answer,
    seal_order,
)
from tests.support.machine.machines import new_key

LAB, MACHINE = new_key(), new_key()
COMMANDS: tuple[LabCommand, ...] = (
    StartTraining(),
    StopTraining(),
    PauseTraining(seconds=600),
    ChangeSettings(values={"idle_minutes": "10", "alias": "灵"}),
    MoveToSwarm(invite="cotrain://join?v=1&spec=abc"),
    ExportModel(),
)


def order(command: LabCommand = COMMANDS[0], **changes: Any) -> LabOrder:
    made = new_order("run", MACHINE.public_key, 7, command)
    return msgspec.structs.replace(made, **changes)


def signed(content: Any, key: MachineKey = LAB, *, kind: bytes = b"cotrain lab command") -> bytes:
    body = content if isinstance(content, bytes) else canonical(content)
    return key.sign(kind + b"\0" + body) + body


@pytest.mark.parametrize("command", COMMANDS, ids=in_short)
def test_what_the_lab_key_signed_arrives_as_it_was(command: LabCommand) -> None:
    sent = order(command)
    assert open_order(seal_order(sent, LAB), LAB.public_key) == sent


def test_a_command_is_canonical_json_that_names_run_machine_number_and_expiry() -> None:
    body = seal_order(order(), LAB)[SIGNATURE_BYTES:]
    fields = json.loads(body)
    assert canonical(fields) == body
    assert set(fields) == {"version", "run", "machine", "number", "issued", "expires", "command"}


def test_another_key_or_another_kind_is_forged() -> None:
    assert open_order(seal_order(order(), MACHINE), LAB.public_key) is LabFlaw.FORGED
    fields = msgspec.to_builtins(order())
    assert open_order(signed(fields, kind=b"cotrain roster"), LAB.public_key) is LabFlaw.FORGED
    assert open_order(seal_order(order(), LAB), "") is LabFlaw.FORGED


@given(place=st.integers(min_value=0), change=st.integers(min_value=1, max_value=255))
def test_each_changed_byte_is_a_forgery(place: int, change: int) -> None:
    sealed = bytearray(seal_order(order(), LAB))
    sealed[place % len(sealed)] ^= change
    assert open_order(bytes(sealed), LAB.public_key) is LabFlaw.FORGED


@given(st.binary(max_size=300))
def test_garbage_never_raises(garbage: bytes) -> None:
    assert open_order(garbage, LAB.public_key) is LabFlaw.FORGED
    assert open_answer(garbage, MACHINE.public_key, "") is None


@given(st.binary(max_size=300))
def test_signed_garbage_never_raises(garbage: bytes) -> None:
    flaw = LabFlaw.MALFORMED if garbage else LabFlaw.FORGED
    assert open_order(signed(garbage), LAB.public_key) is flaw
    answer = signed(garbage, MACHINE, kind=b"cotrain lab answer")
    assert open_answer(answer, MACHINE.public_key, "") is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@given(
    field=st.sampled_from(
        ["version", "run", "machine", "number", "issued", "expires", "command", "other"]
    ),
    value=_json,
)
def test_signed_nonsense_in_a_field_never_raises(field: str, value: Any) -> None:
    fields = msgspec.to_builtins(order()) | {field: value}
    try:
        sealed = signed(fields)
    except (ValueError, UnicodeEncodeError):  # can't be signed either
        return
    found = open_order(sealed, LAB.public_key)
    assert found is LabFlaw.MALFORMED or isinstance(found, LabOrder)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"number": 0},
        {"number": -1},
        {"issued": 0},
        {"expires": 1},
        {"command": PauseTraining(seconds=0)},
        {"command": PauseTraining(seconds=10**9)},
        {"command": ChangeSettings(values={})},
        {"command": ChangeSettings(values={"alias": "x" * 501})},
        {"command": ChangeSettings(values={"alias": "a\nb"})},
        {"command": ChangeSettings(values={str(number): "" for number in range(33)})},
    ],
)
def test_what_makes_no_sense_is_malformed(changes: dict[str, Any]) -> None:
    assert open_order(seal_order(order(**changes), LAB), LAB.public_key) is LabFlaw.MALFORMED


def test_a_command_lives_a_minute_at_most() -> None:
    made = order()
    longer = order(expires=made.issued + LIFE_MS + 1, issued=made.issued)
    assert made.expires - made.issued <= 60_000
    assert open_order(seal_order(longer, LAB), LAB.public_key) is LabFlaw.MALFORMED


def test_a_command_has_no_paths_and_no_fields_of_its_own() -> None:
    fields = msgspec.to_builtins(order(ExportModel()))
    fields["command"]["folder"] = "/etc"
    assert open_order(signed(fields), LAB.public_key) is LabFlaw.MALFORMED


def test_another_way_to_write_the_same_is_malformed() -> None:
    body = json.dumps(msgspec.to_builtins(order())).encode()
    assert open_order(signed(body), LAB.public_key) is LabFlaw.MALFORMED


def test_a_command_that_is_too_large_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_is_signed", None)  # would raise
    assert open_order(bytes(MOST_ORDER_BYTES + 1), LAB.public_key) is LabFlaw.FORGED


def test_an_answer_counts_for_its_order_and_from_its_machine_alone() -> None:
    digest = digest_of(seal_order(order(), LAB))
    answer = new_answer(digest, LabVerdict.DONE, "it\nis")
    sealed = seal_answer(answer, MACHINE)
    found = open_answer(sealed, MACHINE.public_key, digest)
    assert found == answer
    assert found is not None
    assert found.text == "it is"
    assert open_answer(sealed, MACHINE.public_key, "0" * 64) is None
    assert open_answer(sealed, LAB.public_key, digest) is None
    assert open_order(sealed, MACHINE.public_key) is LabFlaw.FORGED  # no command by being an answer


def test_the_digest_does_not_depend_on_the_signature() -> None:
    sealed = seal_order(order(), LAB)
    assert digest_of(bytes(SIGNATURE_BYTES) + sealed[SIGNATURE_BYTES:]) == digest_of(sealed)


def test_in_short_as_on_the_command_line() -> None:
    assert [in_short(each) for each in COMMANDS] == [
        "start",
        "stop",
        "pause 10 min",
        "set alias=灵 idle_minutes=10",
        "move",
        "export",
    ]
