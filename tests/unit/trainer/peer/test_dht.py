"""What hivemind's DHT process raises, whatever it is, has one type here."""

from typing import Any

import hivemind
import pytest

from app.common.errors import JoinError
from app.organiser.admission import OPEN
from app.p2p.calls import CallError, hivemind_errors
from app.p2p.plausible import PLAIN_TIMES
from app.p2p.run_records import Identity, load_identity
from app.trainer.peer.dht import open_dht
from tests.support.training.orders import ORDER


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return load_identity(tmp_path_factory.mktemp("identity") / "trainer.pem")


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (ValueError("first\nsecond"), "first"),
        (TimeoutError(), "TimeoutError()"),
        (Exception("a bare one"), "a bare one"),
    ],
)
def test_reason_is_one_line(raised: Exception, reason: str) -> None:
    with pytest.raises(CallError) as caught, hivemind_errors():
        raise raised
    assert str(caught.value) == reason
    assert caught.value.__cause__ is raised


def test_cancellation_is_no_error_of_the_dht() -> None:
    with pytest.raises(KeyboardInterrupt), hivemind_errors():
        raise KeyboardInterrupt


def test_swarm_that_cannot_be_entered_is_the_users_error(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_options: Any) -> None:
        raise RuntimeError("no peer of 1 answers\nand a traceback")

    monkeypatch.setattr(hivemind, "DHT", refuse)
    with pytest.raises(JoinError) as caught:
        open_dht(ORDER, run_id="run", times=PLAIN_TIMES, identity=identity, admission=OPEN)
    assert caught.value.message == "the trainer can't enter the swarm: no peer of 1 answers."
    assert caught.value.field == "initial_peers"


def test_order_is_obeyed(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr(hivemind, "DHT", lambda **given: options.update(given))
    open_dht(ORDER, run_id="run", times=PLAIN_TIMES, identity=identity, admission=OPEN)
    assert options["initial_peers"] == list(ORDER.initial_peers)
    assert options["identity_path"] == ORDER.identity_file
    assert options["host_maddrs"] == ["/ip4/127.0.0.1/tcp/0"]
    assert len(options["record_validators"]) == 7
