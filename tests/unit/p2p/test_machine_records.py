"""Machine records: sealed, unsealed, and whatever else may come from the network."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.p2p import machine_records as records
from app.p2p.machine_records import (
    LIFE_SECONDS,
    MAX_BYTES,
    Flaw,
    Inspector,
    MachineRecord,
    seal,
    unseal,
)
from tests.support.machine.machines import new_key, record

KEY, OTHER = new_key(), new_key()
RUN = "docs"
NOW = 1000.0
END = NOW + LIFE_SECONDS


def opened(sealed: bytes, **changes: Any) -> MachineRecord | Flaw:
    """Unsealed by one who got it from the DHT just now."""
    told: dict[str, Any] = {
        "public_key": KEY.public_key,
        "run_id": RUN,
        "expiration": END,
        "now": NOW,
    }
    return unseal(sealed, **told | changes)


def raw(told: MachineRecord) -> bytes:
    """Sealed without being cleaned first, as a forger's own program would."""
    body = msgspec.msgpack.encode(told)
    return KEY.sign(records._signed(body, KEY.public_key, RUN)) + body


# --- sound ones ----------------------------------------------------------------------------------

texts = st.text(max_size=300)
shares = st.none() | st.floats(0, 1)
amounts = st.none() | st.integers(0, 2**50)
sound = st.builds(
    MachineRecord,
    sequence=st.integers(0, 2**53),
    time=st.just(NOW),
    alias=texts,
    lab=texts,
    device=texts,
    last_error=texts,
    state=st.sampled_from(["training", "watching", records.LEFT]),
    samples_per_second=st.none() | st.floats(0, 1e7),
    loss=st.none() | st.floats(0, 1e6),
    epoch=st.none() | st.integers(0, 10**9),
    gpu_use=shares,
    gpu_memory=amounts,
    memory_used=amounts,
    temperature=st.none() | st.floats(-60, 150),
    power=st.none() | st.floats(0, 20_000),
    samples=st.integers(0, 2**53),
)


@given(sound)
@example(record(alias="名" * 300, lab="\U0001f600" * 300, last_error="\U0001f600" * 300))
@example(record(alias="a\u202eb\x00\n", last_error="\x1b[31m"))
def test_what_we_seal_is_small_and_opens_again(told: MachineRecord) -> None:
    sealed = seal(told, KEY, RUN)
    assert len(sealed) <= MAX_BYTES
    found = opened(sealed)
    assert isinstance(found, MachineRecord)
    for name in ("sequence", "time", "state", "loss", "gpu_use", "temperature", "samples"):
        assert getattr(found, name) == getattr(told, name)
    assert found.alias == records._clean(told.alias, records.ALIAS_CHARACTERS)


def test_usual_record_is_much_smaller_than_allowed() -> None:
    assert len(seal(record(), KEY, RUN)) < MAX_BYTES / 2


def test_field_of_a_newer_version_is_ignored() -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(record(version=2)))
    body = msgspec.msgpack.encode([*fields, "a field of tomorrow"])
    sealed = KEY.sign(records._signed(body, KEY.public_key, RUN)) + body
    assert opened(sealed) == record(version=2)


# --- unsound ones --------------------------------------------------------------------------------


@given(st.binary(max_size=MAX_BYTES + 50), st.text(max_size=60))
def test_anything_else_has_a_flaw_and_raises_nothing(sealed: bytes, public_key: str) -> None:
    assert isinstance(opened(sealed, public_key=public_key), Flaw)
    assert isinstance(opened(sealed), Flaw)


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    sealed = bytearray(seal(record(), KEY, RUN))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    assert isinstance(opened(bytes(sealed)), Flaw)


def test_anothers_signature() -> None:
    assert opened(seal(record(), OTHER, RUN)) is Flaw.WRONG_KEY


def test_anothers_record_under_our_key() -> None:
    sealed = seal(record(), KEY, RUN)
    assert opened(sealed, public_key=OTHER.public_key) is Flaw.WRONG_KEY


def test_another_swarms_record() -> None:
    assert opened(seal(record(), KEY, "another")) is Flaw.WRONG_KEY


def test_the_same_key_written_another_way_is_no_second_machine() -> None:
    """The last letter of 32 bytes in base64 has two bits to spare."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = letters[letters.index(KEY.public_key[42]) + 1]
    twin = f"{KEY.public_key[:42]}{last}="
    assert opened(seal(record(), KEY, RUN), public_key=twin) is Flaw.MALFORMED


def test_oversized() -> None:
    assert opened(raw(record(last_error="x" * MAX_BYTES))) is Flaw.OVERSIZED


@pytest.mark.parametrize(
    "changes",
    [
        {"samples_per_second": -1.0},
        {"samples_per_second": math.nan},
        {"loss": math.inf},
        {"gpu_use": 1.01},
        {"temperature": 4000.0},
        {"power": 1e9},
        {"epoch": -1},
        {"samples": 2**60},
        {"time": math.nan},
        {"time": -5.0},
        {"alias": "x" * 41},
        {"alias": "evil\u202etxt.exe"},
        {"device": "two\nlines"},
        {"peer_ids": ("a",) * 10},
        {"peer_ids": ("x" * 81,)},
    ],
)
def test_absurd_values_even_if_signed(changes: dict[str, Any]) -> None:
    assert opened(raw(record(**changes))) is Flaw.ABSURD


def test_clock_ahead_of_ours() -> None:
    early = NOW - records.FUTURE_SECONDS - 1
    assert opened(seal(record(), KEY, RUN), now=early) is Flaw.FUTURE
    assert isinstance(opened(seal(record(), KEY, RUN), now=early + 2), MachineRecord)


@pytest.mark.parametrize("changes", [{"now": END + 1}, {"expiration": END + 2}])
def test_old_record_brought_back(changes: dict[str, float]) -> None:
    assert opened(seal(record(), KEY, RUN), **changes) is Flaw.REPLAYED


def test_record_that_would_never_end() -> None:
    assert opened(seal(record(), KEY, RUN), expiration=math.nan) is Flaw.REPLAYED
    assert opened(seal(record(), KEY, RUN), expiration=math.inf) is Flaw.REPLAYED


# --- where they lie ------------------------------------------------------------------------------


def test_shards_are_used_evenly() -> None:
    counts = [0] * records.SHARDS
    for _ in range(800):
        counts[records.shard_of(new_key().public_key)] += 1
    assert min(counts) > 20
    assert max(counts) < 100


# --- many, again and again -----------------------------------------------------------------------


def entry(told: MachineRecord, key: Any = KEY) -> records.BoardEntry:
    return key.public_key, seal(told, key, RUN), told.time + LIFE_SECONDS


def test_each_record_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inspector, good = Inspector(RUN), entry(record())
    forged = (OTHER.public_key, good[1], good[2])
    first = inspector.inspect([good, forged, forged], NOW)
    assert set(first.records) == {KEY.public_key}
    assert first.dropped == {Flaw.WRONG_KEY: 1}
    monkeypatch.setattr("app.common.signing.verify", lambda *_: pytest.fail("checked again"))
    again = inspector.inspect([good, forged], NOW + 1)
    assert (again.records, again.dropped.total()) == ({}, 0)


def test_older_record_of_a_node_that_lags_is_passed_over() -> None:
    inspector = Inspector(RUN)
    inspector.inspect([entry(record(sequence=5, time=NOW))], NOW)
    found = inspector.inspect([entry(record(sequence=4, time=NOW - 200))], NOW)
    assert (found.records, found.dropped.total()) == ({}, 0)


def test_much_older_record_is_a_replay() -> None:
    inspector = Inspector(RUN)
    inspector.inspect([entry(record(sequence=5, time=NOW))], NOW)
    found = inspector.inspect([entry(record(sequence=4, time=NOW - 250))], NOW)
    assert (found.records, found.dropped) == ({}, {Flaw.REPLAYED: 1})


def test_replay_after_the_machine_was_forgotten_is_one_still() -> None:
    inspector = Inspector(RUN)
    old = entry(record(sequence=5, time=NOW))
    inspector.inspect([old], NOW)
    inspector.tidy(NOW + 3 * LIFE_SECONDS)
    assert inspector.inspect([old], NOW + 3 * LIFE_SECONDS).dropped == {Flaw.REPLAYED: 1}


def test_flood_of_forgeries_is_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.p2p.machine_records.FORGERIES", 10)
    inspector = Inspector(RUN)
    inspector.inspect([(KEY.public_key, bytes([n]) * 70, END) for n in range(50)], NOW)
    assert len(inspector._forged) == 10
