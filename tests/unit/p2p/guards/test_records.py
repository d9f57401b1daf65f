"""What a node of ours lets into the DHT: what a plain peer that behaves writes, and no more."""

import math
from pathlib import Path
from typing import Any

import pytest
from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.routing import DHTID
from hivemind.dht.validation import CompositeValidator, DHTRecord
from hivemind.p2p import PeerID
from hivemind.utils.timed_storage import get_dht_time

from app.organiser.admission import Admission
from app.organiser.roster import MOST_BYTES, Member, Roster, body_of, raw_peer_id, to_sign
from app.p2p import run_records
from app.p2p.guards import records
from app.p2p.guards.records import owner_peer_id, unforged
from app.p2p.plausible import RunTimes
from tests.support.network.progress import OWNER, PEER, YEARS, owner, progress
from tests.support.organiser.organisers import FIRST, SECOND, admission_by, organiser, sealed

RUN = "run"
TIMES = RunTimes(record_seconds=45.0)
dumps = DHTProtocol.serializer.dumps


def guards() -> list[Any]:
    return records.guards(RUN, TIMES)


def accepts(key: str, subkey: Any, value: Any, *, life: float = 45.0) -> bool:
    """Whether the guards let such a record pass."""
    record = DHTRecord(
        DHTID.generate(key).to_bytes(), dumps(subkey), dumps(value), get_dht_time() + life
    )
    return CompositeValidator(guards()).validate(record)


METRICS = {
    "step": 7,
    "samples_per_second": 12.5,
    "samples_accumulated": 100,
    "loss": 3.5,
    "mini_steps": 4,
}


# --- plain peers that behave ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [progress(), progress(samples_per_second=0.0), None])
def test_progress_of_a_plain_peer_passes(value: Any) -> None:
    assert accepts("run_progress", OWNER, value, life=60.0)


def test_metrics_pass() -> None:
    assert accepts("run_metrics", OWNER, METRICS, life=60.0)
    assert accepts("run_base", OWNER, "a1" * 32, life=60.0)


EVALUATION = {"epoch": 7, "loss": 2.5, "bits_per_byte": 3.6, "tokens": 4096}


def test_evaluation_passes() -> None:
    assert accepts("run_evaluations", OWNER, EVALUATION, life=60.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss", math.nan),
        ("loss", -1.0),
        ("loss", 1e9),
        ("loss", "2"),
        ("bits_per_byte", math.inf),
        ("epoch", -1),
        ("epoch", 2**60),
        ("tokens", True),
        ("tokens", None),
    ],
)
def test_evaluation_that_nobody_can_have_is_refused(field: str, value: Any) -> None:
    assert not accepts("run_evaluations", OWNER, EVALUATION | {field: value}, life=60.0)


@pytest.mark.parametrize("averager", ["grad_averager", "state_averager"])
@pytest.mark.parametrize("value", [0, 7, 7.0, None])
def test_offer_of_the_state_passes(averager: str, value: Any) -> None:
    assert accepts(f"run_{averager}.all_averagers", PEER, value, life=30.0)


@pytest.mark.parametrize("value", [True, False])
def test_search_for_a_group_passes(value: bool) -> None:
    assert accepts("run_grad_averager.0b", PEER, value, life=30.0)


def test_keys_of_others_pass() -> None:
    assert accepts("another", "any", {"what": "ever"}, life=3600.0)


# --- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("life", [181.0, YEARS, math.inf, math.nan])
def test_record_that_outlives_its_peer_is_refused(life: float) -> None:
    assert not accepts("run_progress", OWNER, progress(), life=life)


@pytest.mark.parametrize(
    "changes",
    [
        {"peer_id": bytes(100_000)},
        {"peer_id": bytes(65)},
        {"peer_id": b""},
        {"peer_id": "QmText"},
        {"epoch": -1},
        {"epoch": 2**60},
        {"epoch": True},
        {"epoch": 1.0},
        {"samples_accumulated": -1},
        {"samples_accumulated": 2**60},
        {"samples_per_second": math.nan},
        {"samples_per_second": math.inf},
        {"samples_per_second": -1.0},
        {"samples_per_second": 1e30},
        {"time": math.nan},
        {"time": 1e30},
    ],
    ids=repr,
)
def test_implausible_progress_is_refused(changes: dict[str, Any]) -> None:
    assert not accepts("run_progress", OWNER, progress(**changes))


@pytest.mark.parametrize("value", [1, "text", [], {}, b"bytes"], ids=repr)
def test_progress_of_another_shape_is_refused(value: Any) -> None:
    assert not accepts("run_progress", OWNER, value)


@pytest.mark.parametrize("subkey", [None, b"", "me", b"me", b"[owner:" + bytes(2000) + b"]"])
def test_progress_without_an_owner_is_refused(subkey: Any) -> None:
    assert not accepts("run_progress", subkey, progress())


@pytest.mark.parametrize("loss", [math.nan, math.inf, "low", None, -1.0, 1e9])
def test_implausible_loss_is_refused(loss: Any) -> None:
    assert not accepts("run_metrics", OWNER, METRICS | {"loss": loss})


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "a" * 65, "a" * 64 + "\n", 5, None])
def test_digest_that_is_none_is_refused(digest: Any) -> None:
    assert not accepts("run_base", OWNER, digest)


@pytest.mark.parametrize("value", [-1, 2**53 * 1e3, math.nan, math.inf, "first", True])
def test_implausible_offer_of_the_state_is_refused(value: Any) -> None:
    assert not accepts("run_state_averager.all_averagers", PEER, value)


@pytest.mark.parametrize(("subkey", "value"), [(bytes(100), True), (PEER, 1), (PEER, bytes(500))])
def test_implausible_search_for_a_group_is_refused(subkey: Any, value: Any) -> None:
    assert not accepts("run_grad_averager.0b", subkey, value)


def test_unknown_keys_are_bounded_too() -> None:
    assert not accepts("another", "any", bytes(100_000))
    assert not accepts("another", "any", 1, life=YEARS)


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\xc7\xff\x50", b"\xd8\x50" * 9])
def test_garbage_is_refused(raw: bytes) -> None:
    key = DHTID.generate("run_progress").to_bytes()
    record = DHTRecord(key, raw, raw, get_dht_time() + 1.0)
    assert not CompositeValidator(guards()).validate(record)


# --- whose record it is --------------------------------------------------------------------------


def test_owner_of_a_record_is_the_peer_whose_key_it_is(tmp_path: Path) -> None:
    identity = run_records.load_identity(tmp_path / "peer.pem")
    assert owner_peer_id(owner(identity.key)) == identity.raw
    assert owner_peer_id(OWNER) != identity.raw
    assert owner_peer_id(b"[owner:ssh-rsa AAAA]") is None


def test_nobody_speaks_for_a_peer_that_speaks_itself(tmp_path: Path) -> None:
    identity = run_records.load_identity(tmp_path / "peer.pem")
    true = progress(peer_id=identity.raw)
    forged = progress(peer_id=identity.raw, epoch=10**6)
    mine = owner(identity.key)
    assert unforged([(OWNER, forged), (mine, true)]) == [true]
    assert unforged([(mine, true), (OWNER, forged)]) == [true]


def test_peer_with_many_keys_counts_once() -> None:
    entries = [(owner(), progress(epoch=number)) for number in (7, 10**6, 10**6)]
    assert unforged(entries) == [entries[0][1]]


# --- closed swarms -------------------------------------------------------------------------------

MEMBER, STRANGER = raw_peer_id(FIRST), raw_peer_id(SECOND)
ORGANISER = organiser()


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admission:
    """Of a swarm whose second roster has one member; the guards ask it."""
    admission = admission_by(ORGANISER, tmp_path / "run.roster", RUN)
    assert admission.keep(sealed(ORGANISER, FIRST, serial=2, run_id=RUN))
    guarding = records.guards(RUN, TIMES, admission)
    monkeypatch.setitem(globals(), "guards", lambda: guarding)
    return admission


def test_records_of_members_pass(closed: Admission, tmp_path: Path) -> None:
    identity = run_records.load_identity(tmp_path / "peer.pem")
    closed.keep(sealed(ORGANISER, FIRST, identity.peer_id, serial=3, run_id=RUN))
    closed._look(at_once=True)
    assert accepts("run_progress", OWNER, progress(peer_id=MEMBER))  # a plain peer
    assert accepts("run_progress", owner(identity.key), None)
    assert accepts("run_metrics", owner(identity.key), METRICS)
    assert accepts("run_base", owner(identity.key), "a1" * 32)
    assert accepts("run_grad_averager.0b", MEMBER, True)
    assert accepts("run_state_averager.all_averagers", MEMBER, 7)
    assert accepts("another", "any", 1)


@pytest.mark.usefixtures("closed")
def test_records_of_strangers_are_refused() -> None:
    assert not accepts("run_progress", OWNER, progress(peer_id=STRANGER))
    assert not accepts("run_metrics", OWNER, METRICS)
    assert not accepts("run_base", OWNER, "a1" * 32)
    assert not accepts("run_grad_averager.0b", STRANGER, True)
    assert not accepts("run_state_averager.all_averagers", STRANGER, 7)


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("serial", [2, 3])
def test_the_organisers_newest_roster_passes(serial: int) -> None:
    content = sealed(ORGANISER, FIRST, SECOND, serial=serial, run_id=RUN)
    assert accepts("run_roster", serial, content, life=600.0)


def test_the_largest_roster_passes(closed: Admission) -> None:
    largest = Roster(serial=3, issued=1.0, members=())
    while len(body_of(largest)) < MOST_BYTES - 200:
        filler = raw_peer_id(FIRST)[:-4] + len(largest.members).to_bytes(4, "big")
        member = Member(peer_id=PeerID(filler).to_base58(), label="l" * 40)
        largest = Roster(serial=3, issued=1.0, members=(*largest.members, member))
    body = body_of(largest)
    assert accepts("run_roster", 3, ORGANISER.sign(to_sign(body, RUN)) + body)


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    ("subkey", "content", "life"),
    [
        (1, sealed(ORGANISER, FIRST, SECOND, serial=1, run_id=RUN), 60.0),
        (9, sealed(ORGANISER, FIRST, SECOND, serial=1, run_id=RUN), 60.0),
        (9, sealed(organiser(), SECOND, serial=9, run_id=RUN), 60.0),
        (9, sealed(ORGANISER, SECOND, serial=9, run_id="another"), 60.0),
        (9, sealed(ORGANISER, SECOND, serial=9, run_id=RUN), YEARS),
        (9, sealed(ORGANISER, SECOND, serial=9, run_id=RUN), math.nan),
        ("9", sealed(ORGANISER, SECOND, serial=9, run_id=RUN), 60.0),
        (None, sealed(ORGANISER, SECOND, serial=9, run_id=RUN), 60.0),
        (9, "text", 60.0),
        (9, bytes(70_000), 60.0),
        (9, [1, {"two": 3}], 60.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_rosters_are_refused(subkey: Any, content: Any, life: float) -> None:
    assert not accepts("run_roster", subkey, content, life=life)
