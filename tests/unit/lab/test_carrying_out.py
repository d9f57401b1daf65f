"""What a lab's commands do with a session, and what they may not."""

import asyncio
import base64
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import JoinError, LabError
from app.lab.carrying_out import MAY_BE_SET, SessionHands, allowed
from app.lab.messages import (
    ChangeSettings,
    ExportModel,
    MoveToSwarm,
    StartTraining,
    StopTraining,
)
from app.settings.settings import Settings
from app.spec import invite
from app.spec import schema as spec
from app.state.state import Phase
from app.terms.terms import Terms
from tests.support.processes.apps import tiny_spec
from tests.support.processes.sessions import OfflineSession, until_it_waits


@pytest.fixture
async def session(tmp_path: Path) -> OfflineSession:
    made = OfflineSession(tmp_path)
    await made.swarm.join(spec.parse(tiny_spec()))
    return made


@pytest.fixture
async def hands(session: OfflineSession) -> AsyncIterator[SessionHands]:
    made = SessionHands(session)
    yield made
    await made.close()
    await session.swarm.leave()


# --- the allow-list


def test_no_setting_that_is_a_path_an_address_a_key_or_a_power_may_be_set() -> None:
    assert set(Settings.model_fields) >= MAY_BE_SET
    words = ("key", "url", "python", "peers", "callback", "consent", "host", "_port", "relay")
    words = (*words, "sign_in", "backend", "lab_", "debug", "announce", "device", "refill")
    assert [name for name in MAY_BE_SET if any(word in name for word in words)] == []


def test_terms_have_no_name_of_a_setting() -> None:
    assert set(Terms.model_fields) & set(Settings.model_fields) == set()


def test_terms_and_settings_are_told_apart() -> None:
    assert allowed({"threads": "2", "idle_minutes": "10", "terms.max_power": "200"}) == {
        "threads": "2",
        "terms": {"idle_minutes": "10", "max_power": "200"},
    }


@given(st.text(max_size=30))
def test_any_other_name_is_refused(name: str) -> None:
    if name in MAY_BE_SET or name.removeprefix("terms.") in Terms.model_fields:
        return
    with pytest.raises(LabError) as caught:
        allowed({"threads": "2", name: "x"})
    assert caught.value.field == name


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - MAY_BE_SET))
async def test_every_other_setting_stays_as_it_is(
    session: OfflineSession, hands: SessionHands, name: str
) -> None:
    before = session.store.settings
    with pytest.raises(LabError):
        await hands.carry_out(ChangeSettings(values={name: "1", "threads": "7"}))
    assert session.store.settings is before


async def test_settings_and_terms_are_in_force_and_saved(
    session: OfflineSession, hands: SessionHands
) -> None:
    values = {"threads": "2", "schedule": "mon-fri 18:00-08:00", "mains_only": "true"}
    await hands.carry_out(ChangeSettings(values=values))
    settings = session.store.settings
    assert (settings.threads, settings.terms.mains_only) == (2, True)
    assert str(settings.terms.schedule)
    assert "schedule" in session.folders.settings_file.read_text()


async def test_a_wrong_value_changes_nothing(session: OfflineSession, hands: SessionHands) -> None:
    before = session.store.settings
    with pytest.raises(LabError) as caught:
        await hands.carry_out(ChangeSettings(values={"threads": "2", "max_temperature": "9000"}))
    assert "max_temperature" in caught.value.field
    assert session.store.settings is before


# --- training


async def test_start_and_stop(session: OfflineSession, hands: SessionHands) -> None:
    await hands.carry_out(StartTraining())
    assert session.store.state.phase is Phase.PREPARING
    assert "already" in await hands.carry_out(StartTraining())
    await hands.carry_out(StopTraining())
    assert session.store.state.phase is Phase.WATCHING
    await hands.carry_out(StopTraining())  # nothing to do


async def test_an_export_without_a_checkpoint_or_a_swarm_is_refused(
    session: OfflineSession, hands: SessionHands
) -> None:
    with pytest.raises(LabError, match="no checkpoint"):
        await hands.carry_out(ExportModel())
    await session.swarm.leave()
    with pytest.raises(LabError, match="no swarm"):
        await hands.carry_out(ExportModel())


# --- another swarm


def other(**changes: object) -> str:
    return invite.as_link(spec.parse(tiny_spec(run_id="other") | changes))


async def until_in(session: OfflineSession, run_id: str, *, trains: bool) -> None:
    """Wait for a state."""
    changed = asyncio.Event()
    looking = session.store.subscribe(lambda _state: changed.set())
    async with asyncio.timeout(30):
        while True:
            state = session.store.state
            is_there = state.swarm is not None and state.swarm.run_id == run_id
            if is_there and session.swarm.joined and state.trains_or_will is trains:
                break
            changed.clear()
            await changed.wait()
    looking.close()


@pytest.mark.parametrize("trains", [True, False])
async def test_it_moves_once_it_has_answered_and_trains_on_if_it_did(
    session: OfflineSession, hands: SessionHands, trains: bool
) -> None:
    if trains:
        await hands.carry_out(StartTraining())
    assert "leaves for" in await hands.carry_out(MoveToSwarm(invite=other()))
    assert session.store.state.swarm is not None
    assert session.store.state.swarm.run_id == "tiny"
    hands.go_on()
    await until_in(session, "other", trains=trains)
    hands.go_on()  # nothing waits any more
    assert len(session.peer.entered) == 2


async def test_a_later_move_isn_t_hurried_by_the_time_of_an_earlier_one(
    hands: SessionHands,
) -> None:
    await hands.carry_out(MoveToSwarm(invite=other()))
    first = hands._leaving
    await hands.carry_out(MoveToSwarm(invite=other()))
    assert first is not None
    assert first.cancelled()
    await hands.close()
    assert hands._leaving is not None
    assert hands._leaving.cancelled()


async def test_it_comes_back_where_the_other_swarm_cannot_be_entered(
    session: OfflineSession, hands: SessionHands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.swarm.way_back.FIRST_SECONDS", 0.01)
    await hands.carry_out(StartTraining())
    await hands.carry_out(MoveToSwarm(invite=other()))
    session.peer.failure = JoinError("nobody is there.")
    hands.go_on()
    async with asyncio.timeout(30):
        while session.swarm.tried_spec is None or session.swarm.tried_spec.run_id != "tiny":
            session.peer.enters.clear()
            await session.peer.enters.wait()
    session.peer.failure = None
    await until_in(session, "tiny", trains=True)


async def test_the_user_can_give_up_coming_back(
    session: OfflineSession, hands: SessionHands
) -> None:
    await hands.carry_out(StartTraining())
    await hands.carry_out(MoveToSwarm(invite=other()))
    session.peer.failure = JoinError("nobody is there.")
    hands.go_on()
    async with asyncio.timeout(30):
        await until_it_waits(session)
        session.way_back.give_up()
        session.peer.failure = None
        await hands._moving
    state = session.store.state
    assert (state.phase, state.returning) == (Phase.DISCONNECTED, None)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "cotrain://join?v=1&spec=AAAA",
        "/etc/passwd",
        "file:///etc/passwd",
        '{"run_id": "x"}',
        other(dataset_info={"source": "slot", "label": "Novels"}),
    ],
)
async def test_an_invite_that_cannot_be_followed_is_refused(
    session: OfflineSession, hands: SessionHands, link: str
) -> None:
    with pytest.raises(LabError):
        await hands.carry_out(MoveToSwarm(invite=link))
    hands.go_on()
    assert session.store.state.swarm is not None
    assert session.store.state.swarm.run_id == "tiny"


async def test_an_invite_may_not_name_a_path_not_even_a_known_one(
    session: OfflineSession, hands: SessionHands, tmp_path: Path
) -> None:
    text = tmp_path / "a.txt"
    text.write_text("words " * 1000)
    with_path = tiny_spec(run_id="other", dataset_info={"source": "files", "paths": [str(text)]})
    await session.recents.remember(spec.parse(with_path))
    packed = zlib.compress(json.dumps({"version": 1} | with_path).encode())
    coded = base64.urlsafe_b64encode(packed).rstrip(b"=").decode()
    with pytest.raises(LabError, match="path"):
        await hands.carry_out(MoveToSwarm(invite=f"cotrain://join?v=1&spec={coded}"))
