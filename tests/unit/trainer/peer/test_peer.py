"""The trainer's peer, around a DHT process that is none."""

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hivemind.utils.crypto import RSAPrivateKey
from hivemind.utils.timed_storage import get_dht_time

from app.common.errors import JoinError
from app.p2p import run_records
from app.p2p.run_records import LocalMetrics, load_identity
from app.protocol import Report
from app.spec import schema as specs
from app.trainer.peer import peer as peers
from app.trainer.peer.peer import TrainerPeer
from tests.support.training.orders import ORDER
from tests.support.training.specs import PEER, SMALLEST

METRICS = LocalMetrics(
    step=3, samples_per_second=2.5, samples_accumulated=64, loss=11.0, mini_steps=2
)


class Dht:
    """Stands for the DHT process."""

    def __init__(self) -> None:
        self.alive = True
        self.client_mode = False
        self.stored: list[tuple[str, dict[str, Any]]] = []
        self.told: dict[str, dict[bytes, Any]] = {}

    def is_alive(self) -> bool:
        return self.alive

    def get_visible_maddrs(self) -> list[str]:
        return ["/ip4/10.0.0.1/tcp/8080/p2p/Qm"]

    def store(self, key: str, **options: Any) -> Future[bool]:
        self.stored.append((key, options))
        return _done(True)

    def get(self, key: str, **_options: Any) -> Future[Any]:
        return _done(SimpleNamespace(value=self.told[key]) if key in self.told else None)

    def shutdown(self) -> None:
        self.alive = False


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


@pytest.fixture
def dht() -> Dht:
    return Dht()


@pytest.fixture
def daemon() -> SimpleNamespace:
    return SimpleNamespace(status=lambda: psutil.STATUS_SLEEPING)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """For whom the peer waited."""
    waited: list[dict[str, Any]] = []
    monkeypatch.setattr(peers, "see_others", lambda _dht, **options: waited.append(options))
    return waited


@pytest.fixture
def peer(
    dht: Dht,
    daemon: SimpleNamespace,
    waits: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> TrainerPeer:
    monkeypatch.setattr(RSAPrivateKey, "_process_wide_key", None)
    monkeypatch.setattr(peers, "open_dht", lambda _order, **_options: dht)
    monkeypatch.setattr(peers, "_daemon_of", lambda _dht: daemon)
    spec = specs.parse(SMALLEST | {"initial_peers": [PEER]})
    identity = load_identity(tmp_path / "trainer.pem")
    reports: list[Report] = []
    return TrainerPeer(ORDER, spec=spec, identity=identity, report=reports.append)


def test_it_waits_for_the_doors_of_its_run(peer: TrainerPeer, waits: list[dict[str, Any]]) -> None:
    (waited,) = waits
    assert (waited["doors"], waited["run_id"]) == ((PEER,), "run")


def test_all_of_hivemind_signs_with_its_identity(peer: TrainerPeer) -> None:
    assert RSAPrivateKey.process_wide() is peer._identity.key


def test_metrics_are_its_own_entry_of_the_runs_record(peer: TrainerPeer, dht: Dht) -> None:
    peer.publish(METRICS)
    ((key, options),) = dht.stored
    assert key == run_records.metrics_key("run")
    assert options["value"] == METRICS.dict()
    assert options["subkey"].startswith(b"[owner:")
    assert 0 < options["expiration_time"] - get_dht_time() <= run_records.METRICS_SECONDS
    assert options["return_future"]  # nobody waits for it


def test_client_has_no_addresses(peer: TrainerPeer, dht: Dht) -> None:
    assert peer.addresses == ("/ip4/10.0.0.1/tcp/8080/p2p/Qm",)
    dht.client_mode = True
    assert peer.addresses == ()


def test_dead_dht_process_is_seen(peer: TrainerPeer) -> None:
    assert peer.failure() == ""
    peer.close()
    assert peer.failure() == "the DHT process ended"


@pytest.mark.parametrize("gone", [False, True])
def test_dead_daemon_is_seen(peer: TrainerPeer, daemon: SimpleNamespace, gone: bool) -> None:
    def status() -> str:
        if gone:
            raise psutil.NoSuchProcess(1)
        return psutil.STATUS_ZOMBIE

    daemon.status = status
    assert peer.failure() == "the peer-to-peer daemon ended"


@pytest.mark.parametrize("others", ["", "a" * 64, "b" * 64])
def test_one_that_begins_with_other_weights_leaves_again(
    dht: Dht,
    daemon: SimpleNamespace,
    waits: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    others: str,
) -> None:
    monkeypatch.setattr(RSAPrivateKey, "_process_wide_key", None)
    monkeypatch.setattr(peers, "open_dht", lambda _order, **_options: dht)
    monkeypatch.setattr(peers, "_daemon_of", lambda _dht: daemon)
    if others:
        dht.told[run_records.base_key("run")] = {b"other": SimpleNamespace(value=others)}

    def enter() -> TrainerPeer:
        identity = load_identity(tmp_path / "trainer.pem")
        spec = specs.parse(SMALLEST)
        return TrainerPeer(ORDER, spec=spec, identity=identity, report=print, base="a" * 64)

    if others.startswith("b"):
        with pytest.raises(JoinError, match="begins with other weights"):
            enter()
        assert not dht.alive
        return
    enter().publish(METRICS)
    keys = [key for key, _options in dht.stored]
    assert keys == [run_records.base_key("run"), run_records.base_key("run"), "run_metrics"]
