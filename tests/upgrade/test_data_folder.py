"""A data folder that version 0.1.0 wrote opens, with everything in it."""

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.backend.account import Account
from app.backend.http import Http
from app.backend.secret_store import Secrets, SecretStore
from app.callback.tokens import ApiTokens, Role
from app.common.logs import AuditLog
from app.common.paths import Folders
from app.common.signing import MachineKey, canonical, from_text, verify
from app.contributions.accounting import Contribution
from app.contributions.export import check, to_json
from app.contributions.ledger import Ledger, LedgerEntry, OutboxState
from app.contributions.recorder import Recorder
from app.lifecycle.processes import sweep_last_run
from app.lifecycle.start_guard import StartGuard
from app.p2p.run_records import load_identity
from app.settings.loading import load, load_or_mend, save
from app.settings.settings import Settings
from app.spec.schema import SwarmSpec
from app.state.events import Event
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.recents import Recents
from app.terms.schedule import Schedule
from app.terms.terms import Terms
from app.trainer.checkpoint import CheckpointFolder
from app.trainer.data.tokenizer import open_tokenizer
from app.trainer.model.build import build_model
from app.trainer.model.loss import loss_of
from app.trainer.model.optimizers import optimizer_for
from app.trainer.room import Room
from app.trainer.tuning import Tuned, TuningCache
from tests.support.processes.old_folder import (
    APP_PEER,
    EPOCHS,
    EXPORTED,
    FOLDER,
    PUBLIC_KEY,
    TRAINER_PEER,
    names_in,
    old_folder,
)
from tests.support.training.published import NO_DOWNLOADS

BACKEND = "http://127.0.0.1:3999"
CHANGED: dict[str, Any] = {
    "device": "cpu",
    "threads": 1,
    "theme": "dark",
    "language": "en",
    "close_to_tray": True,
    "notifications": ("training", "milestones"),
    "dht_port": 0,
    "server_port": 0,
    "report_interval": 10,
    "backend_url": BACKEND,
    "alias": "Old machine",
    "lab": "Lab 7",
    "callback_port": 0,
    "consent": "never",
    "consent_backends": ("10.0.0.0/8", "::1"),
    "terms": Terms(
        schedule=Schedule.parse("mon-sun 00:00-24:00"),
        programs=("blender", "a-game"),
        compute_share=90,
        max_upload=800,
        max_monthly=50,
        max_disk=5,
        max_memory=6,
    ),
}
"""What its settings say; the others have their defaults."""

STATES = ["confirmed", "refused", "sending", "waiting", "local", "local"]
"""Of its contributions, the oldest first."""

TEXT = b"What was written is read again."
LOSS = 5.5113
"""Nats a byte, of that text by the checkpoint of `kept`, when it was written."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A copy of the folder, in which nothing may be set aside, renamed or added."""
    copy = old_folder(tmp_path / "old")
    yield copy
    assert names_in(copy) == names_in(FOLDER)


@pytest.fixture
def folders(folder: Path) -> Folders:
    """Where things are in it, for the app."""
    return Folders.under(folder)


@pytest.fixture
def ledger(folders: Folders) -> Iterator[Ledger]:
    opened = Ledger.open(folders.ledger_file, backend=BACKEND)
    opened.adopt(BACKEND)
    yield opened
    opened.close()


@pytest.fixture
def key(folders: Folders) -> MachineKey:
    return MachineKey.load_or_create(folders.machine_key_file)


@pytest.fixture
def spec(folders: Folders) -> SwarmSpec:
    """Of the run whose checkpoints are looked at, as the app remembers it."""
    return next(each.spec for each in recents(folders) if each.spec.run_id == "kept")


def recents(folders: Folders) -> Any:
    return asyncio.run(Recents(folders.recents_file).load())


def oldest_first(ledger: Ledger) -> list[LedgerEntry]:
    return ledger.all(limit=-1)[::-1]


# --- settings ------------------------------------------------------------------------------------


def test_settings_are_as_they_were(folders: Folders) -> None:
    loaded, damaged = load_or_mend(folders.settings_file)
    assert damaged is None
    assert loaded.model_dump() == Settings(**CHANGED).model_dump()
    assert {name for name, value in loaded if value != getattr(Settings(), name)} == set(CHANGED)


def test_a_change_keeps_the_other_settings(folders: Folders) -> None:
    save(folders.settings_file, {"theme": "light", "terms": {"compute_share": 50}})
    terms = CHANGED["terms"].model_copy(update={"compute_share": 50})
    expected = Settings(**CHANGED | {"theme": "light", "terms": terms})
    assert load(folders.settings_file).model_dump() == expected.model_dump()


# --- what was contributed ------------------------------------------------------------------------


def test_ledger_has_the_same_contributions(ledger: Ledger) -> None:
    """As the same version exported them."""
    exported = check(EXPORTED.read_bytes())["contributions"]
    entries = oldest_first(ledger)
    assert ledger.recovery is None
    assert ledger.left_open() == []
    assert [entry.state for entry in entries] == STATES
    assert exported == [
        entry.contribution.document()
        | {"signature": entry.contribution.signature, "state": entry.state}
        for entry in entries
    ]
    totals = ledger.totals()
    assert (totals.contributions, totals.samples, totals.epochs) == (6, 10312, 5)
    assert list(ledger.by_swarm()) == ["own", "kept"]


def test_contributions_carry_the_signature_of_this_machine(ledger: Ledger, key: MachineKey) -> None:
    assert key.public_key == PUBLIC_KEY
    assert all(is_signed(entry.contribution) for entry in oldest_first(ledger))
    assert {entry.contribution.participant for entry in ledger.all()} == {APP_PEER}


def is_signed(made: Contribution) -> bool:
    signature = from_text(made.signature)
    return made.public_key == PUBLIC_KEY and verify(
        PUBLIC_KEY, canonical(made.document()), signature
    )


def test_they_can_be_exported_again(ledger: Ledger, key: MachineKey) -> None:
    again = check(to_json(oldest_first(ledger), key=key))
    before = check(EXPORTED.read_bytes())
    assert again["contributions"] == before["contributions"]
    assert again["publicKey"] == before["publicKey"]


def test_outbox_is_where_it_was(ledger: Ledger) -> None:
    confirmed, refused, sending, waiting, *local = oldest_first(ledger)
    assert [entry.attempts for entry in (confirmed, refused, sending, waiting)] == [1, 1, 1, 3]
    assert confirmed.remark == "http"
    assert refused.remark == "the backend refused: a planned refusal."
    assert list(ledger.refusals()) == [refused.remark]
    assert ledger.outbox.uncertain() == [sending.contribution]
    assert ledger.outbox.next_waiting(math.inf) == waiting.contribution
    assert ledger.outbox.next_due() == waiting.due_at
    assert ledger.outbox.last_attempt() == waiting
    assert ledger.newest_of_a_session() == waiting.contribution
    assert {entry.contribution.session_id for entry in local} == {None}


def test_outbox_goes_on_from_there(ledger: Ledger) -> None:
    _confirmed, refused, sending, waiting, *_local = oldest_first(ledger)
    ledger.outbox.confirm(sending.contribution.id, 1.8e9, "socket.io")
    ledger.outbox.begin_sending(waiting.contribution.id, 1.8e9)
    ledger.outbox.confirm(waiting.contribution.id, 1.8e9, "http")
    ledger.outbox.take_back_refused(1.8e9)
    assert ledger.outbox.next_waiting(1.8e9) == refused.contribution
    assert ledger.totals().counts[OutboxState.CONFIRMED] == 3


def test_contributions_are_for_the_backend_of_that_time(folders: Folders, ledger: Ledger) -> None:
    assert {entry.backend for entry in ledger.all()} == {BACKEND}
    ledger.close()
    other = Ledger.open(folders.ledger_file, backend="https://other.example")
    other.adopt("https://other.example")
    assert other.outbox.uncertain() == []
    assert other.outbox.next_waiting(math.inf) is None
    assert other.outbox.next_due() is None
    assert other.outbox.last_attempt() is None
    other.outbox.take_back_refused(0.0)
    assert other.outbox.next_waiting(math.inf) is None
    assert other.elsewhere() == {BACKEND: 2}
    other.close()


async def test_measuring_goes_on(folders: Folders) -> None:
    events: list[Event] = []
    store = Store(settings=load(folders.settings_file), state=ContributorState())
    store.subscribe_to_events(lambda event, _state: events.append(event))
    contributions = Recorder(store, folders=folders)
    await contributions.open()
    try:
        assert contributions.public_key == PUBLIC_KEY
        assert (await contributions.summary()).all.contributions == len(STATES)
    finally:
        await contributions.close()
    assert events == []  # such as that the ledger was damaged


# --- who we are ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "peer_id"), [("app", APP_PEER), ("trainer", TRAINER_PEER)])
def test_peers_are_the_same(folders: Folders, role: str, peer_id: str) -> None:
    file = folders.identity_file(role)
    before = file.read_bytes()
    identity = load_identity(file)
    assert identity.peer_id == peer_id
    assert identity.key.get_public_key().verify(b"words", identity.key.sign(b"words"))
    assert file.read_bytes() == before


def test_callers_tokens_are_still_good(folders: Folders) -> None:
    kept = json.loads((FOLDER / "callback-tokens.json").read_bytes())
    tokens = ApiTokens(folders.callback_tokens)
    assert {role: tokens.of(Role(role)) for role in kept} == kept
    assert [tokens.role_of(kept[role]) for role in ("viewer", "operator")] == [
        Role.VIEWER,
        Role.OPERATOR,
    ]


async def test_account_is_still_signed_in(folders: Folders) -> None:
    """Without a keyring, where the file itself keeps the secrets."""
    store = SecretStore(folders.account_file)
    http = Http(load(folders.settings_file).backend_url)
    try:
        account = Account(http, store=store)
        await account.restore()
        assert account.email == "old@example.org"
    finally:
        await http.close()
    kept = await store.whose()
    assert kept is not None
    raw = json.loads((FOLDER / "account.json").read_bytes())["secrets"]
    secrets = await store.secrets(kept)
    assert secrets == Secrets(refresh_token=raw["refresh_token"], password="a throw-away password")


# --- what was trained ----------------------------------------------------------------------------


def test_swarms_are_remembered(folders: Folders) -> None:
    found = recents(folders)
    raw = json.loads((FOLDER / "recent-swarms.json").read_bytes())
    assert [(each.spec.run_id, each.spec.title) for each in found] == [
        ("own", "Own run"),
        ("kept", "Kept run"),
    ]
    assert [each.joined_at for each in found] == [each["joined_at"] for each in raw]
    assert [each.spec.to_json() for each in found] == [each["spec"] for each in raw]


@pytest.mark.parametrize("run_id", EPOCHS)
def test_newest_checkpoint_is_found(folders: Folders, run_id: str) -> None:
    spec = next(each.spec for each in recents(folders) if each.spec.run_id == run_id)
    newest = checkpoints(folders, spec).load_newest()
    assert newest is not None
    assert newest.epoch == EPOCHS[run_id]


def test_checkpoint_goes_into_model_and_optimizer(folders: Folders, spec: SwarmSpec) -> None:
    newest = checkpoints(folders, spec).load_newest()
    assert newest is not None
    model = build_model(
        spec,
        vocabulary_size=open_tokenizer(spec.data.tokenizer, NO_DOWNLOADS).vocabulary_size,
        room=Room(device=torch.device("cpu")),
    )
    model.load_state_dict(newest.model)
    tokens = torch.tensor([list(TEXT)])
    assert loss_of(model, tokens).item() == pytest.approx(LOSS, abs=1e-4)
    assert newest.position == 7628
    assert newest.optimizer["state"].pop("local_epoch") == newest.epoch  # hivemind's own
    optimizer = optimizer_for(spec, model)(model.parameters())
    optimizer.load_state_dict(newest.optimizer)
    steps = {state["step"].item() for state in optimizer.state.values()}
    assert steps == {newest.epoch + 1}  # hivemind begins with one without gradients


def checkpoints(folders: Folders, spec: SwarmSpec) -> CheckpointFolder:
    return CheckpointFolder(folders.checkpoints(spec.run_id) / "trainer", spec)


def test_what_was_tuned_is_remembered(folders: Folders) -> None:
    (found,) = json.loads((FOLDER / "tuning.json").read_bytes())
    assert TuningCache(folders.tuning_file).recall(found) == Tuned(micro_batch_size=4)


# --- starts --------------------------------------------------------------------------------------


def test_nothing_is_left_of_the_last_run(folders: Folders) -> None:
    assert folders.instance_file.exists()
    assert sweep_last_run(folders.instance_file) == []


def test_no_start_has_failed_and_none_is_the_first(folders: Folders) -> None:
    guard = StartGuard(folders.start_file)
    assert not guard.begin()
    guard.succeed()
    assert not folders.first_time("first-steps")


def test_calls_are_written_below_the_earlier_ones(folders: Folders) -> None:
    file = folders.logs / "audit.log"
    before = file.read_text(encoding="utf-8")
    audit = AuditLog(folders.logs)
    audit.write("POST /later")
    audit.close()
    after = file.read_text(encoding="utf-8")
    assert after.startswith(before)
    assert "POST /api/v1/hivemind/stop" in before
    assert json.loads(after.splitlines()[-1])["message"] == "POST /later"
