"""The messages between app and trainer: every one arrives as sent, anything else is refused."""

import json
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import pipe, protocol
from app.common.errors import ProtocolError
from app.evaluation_messages import MOST_PROMPT_CHARACTERS, MOST_SAMPLE_CHARACTERS
from app.p2p.network import Network
from app.p2p.sightings import PartFault
from app.protocol import Command, EndReason, Message, Report, TrainerPhase

PROGRESS = protocol.Progress(
    step=7,
    epoch=2,
    loss=3.25,
    samples_per_second=12.5,
    tokens_per_second=1600.0,
    samples=56,
    tokens=7168,
    compute_seconds=4.5,
    epoch_samples=8,
    swarm_samples=100,
    target_batch_size=512,
    eta=9.0,
    peers=2,
)

COMMANDS: tuple[Command, ...] = (
    protocol.Start(
        id=1,
        spec={"run_id": "öde", "model_config": {"n_layer": 2, "tied": None}},
        initial_peers=("/ip4/127.0.0.1/tcp/1/p2p/Qm",),
        identity_file="/a.pem",
        checkpoint_dir="/c",
        cache_dir="/d",
        device="cuda:0",
        threads=3,
        network=Network(
            listen=("/ip4/0.0.0.0/tcp/8081",),
            announce=("/dns/host.example/tcp/8081",),
            reachability="relay",
            relays=("/ip4/203.0.113.7/tcp/8080/p2p/Qm",),
        ),
        report_interval=0.25,
        checkpoint_interval=5.0,
        tuning_file="/t.json",
    ),
    protocol.Pause(id=2),
    protocol.Resume(id=3),
    protocol.Pace(id=5, share=0.5, upload=125_000, download=250_000),
    protocol.Stop(id=4),
)

REPORTS: tuple[Report, ...] = (
    protocol.Hello(version=protocol.VERSION, pid=4711),
    protocol.Ack(id=1),
    protocol.PhaseChanged(phase=TrainerPhase.TRAINING),
    protocol.Waiting(whom="doors", seen=1, known=2),
    protocol.Ready(
        peer_id="Qm",
        addresses=("/ip4/127.0.0.1/tcp/1/p2p/Qm",),
        device="cpu",
        device_name="Prozessor",
        precision="fp32",
        parameters=800_000,
        micro_batch_size=8,
        resumed_epoch=None,
        compiled=True,
    ),
    protocol.MicroBatchHalved(micro_batch_size=4),
    PROGRESS,
    protocol.Work(
        samples_computed=56,
        samples_pending=8,
        samples_entered=40,
        tokens_entered=5120,
        compute_seconds=4.125,
        epochs=1,
        swarm_samples=512,
        bytes_sent=2**40,
        bytes_sent_in_rounds=2**39,
        bytes_received=3,
        training_seconds=6.5,
    ),
    protocol.RoundEnded(epoch=2, peers=3, seconds=1.5, samples=64, failure="timeout"),
    protocol.SampleDiscarded(epoch=2, samples=8, reason="the loss was not finite"),
    protocol.MemberAtFault(
        peer_id="Qm", fault=PartFault.NOT_FINITE, epoch=17, time=1000.0, evicted_until=1600.0
    ),
    protocol.Evaluated(
        epoch=2, loss=2.5, bits_per_byte=1.75, tokens=4096, seconds=1.5, time=1000.0
    ),
    protocol.SampleGenerated(epoch=2, prompt="Es war", text=" einmal\n☃", time=1000.0),
    protocol.CheckpointSaved(epoch=2, seconds=0.5),
    protocol.TrainerWarning(topic="checkpoint", message="The disk is full.", remedy="Make room."),
    protocol.StateDownload(received=2**33, size=2**34, seconds_left=12.5, problem=""),
    protocol.FileDownload(what="weights", received=2**33, size=None, seconds_left=None),
    protocol.TrainerProblem(message="is wrong.", field="seed", remedy="Mend it.", expected=False),
    protocol.Devices(
        devices=(protocol.Device(id="cpu", name="Prozessor", memory=2**40),),
        torch_version="2.6",
        unusable=(
            protocol.Device(id="cuda:0", name="K80", memory=1, uuid="GPU-1", architecture="sm_37"),
        ),
        architectures=("sm_75",),
        cuda="12.6",
        hip="6.4",
    ),
    protocol.Ended(reason=EndReason.COMPLETED),
)

by_kind = {"ids": lambda message: type(message).__name__}


def line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def test_every_command_is_tested() -> None:
    assert {type(each) for each in COMMANDS} == set(get_args(Command))


def test_every_report_is_tested() -> None:
    assert {type(each) for each in REPORTS} == set(get_args(Report))


@pytest.mark.parametrize("command", COMMANDS, **by_kind)
def test_command_arrives_as_sent(command: Command) -> None:
    assert pipe.decode_command(pipe.encode(command)) == command


@pytest.mark.parametrize("report", REPORTS, **by_kind)
def test_report_arrives_as_sent(report: Report) -> None:
    assert pipe.decode_report(pipe.encode(report)) == report


@pytest.mark.parametrize("message", [*COMMANDS, *REPORTS], **by_kind)
def test_message_is_one_line_of_json(message: Any) -> None:
    wire = pipe.encode(message)
    assert (wire.count(b"\n"), wire[-1:]) == (1, b"\n")
    assert json.loads(wire)["type"] == type(message).__name__


def test_line_break_in_a_text_is_escaped() -> None:
    problem = protocol.TrainerProblem(message="one\ntwo\r\n")
    wire = pipe.encode(problem)
    assert (wire.count(b"\n"), pipe.decode_report(wire)) == (1, problem)


@pytest.mark.parametrize("phase", TrainerPhase)
def test_every_phase_arrives(phase: TrainerPhase) -> None:
    report = protocol.PhaseChanged(phase=phase)
    assert pipe.decode_report(pipe.encode(report)) == report


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_become_null(value: float) -> None:
    report = pipe.decode_report(line(json.loads(pipe.encode(PROGRESS)) | {"loss": None}))
    sent = protocol.Progress(**{**fields_of(PROGRESS), "loss": value})
    assert pipe.decode_report(pipe.encode(sent)) == report


def fields_of(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


WRONG_REPORTS = {
    "no JSON": b"Loading weights: 100%\n",
    "nothing": b"\n",
    "cut off": b'{"type":"Ack","id":',
    "no text": b"\xff\xfe\n",
    "no object": b"[1]\n",
    "two messages": b'{"type":"Ack","id":1}{"type":"Ack","id":2}\n',
    "no type": b'{"id":1}\n',
    "unknown type": b'{"type":"Exploded","id":1}\n',
    "a command": b'{"type":"Stop","id":1}\n',
    "unknown field": b'{"type":"Ack","id":1,"colour":"red"}\n',
    "missing field": b'{"type":"Ack"}\n',
    "wrong type": b'{"type":"Ack","id":"one"}\n',
    "a fraction": b'{"type":"Ack","id":1.5}\n',
    "null": b'{"type":"Ack","id":null}\n',
    "unknown phase": b'{"type":"PhaseChanged","phase":"dreaming"}\n',
    "unknown reason": b'{"type":"Ended","reason":"bored"}\n',
}


@pytest.mark.parametrize("wire", WRONG_REPORTS.values(), ids=WRONG_REPORTS)
def test_wrong_report_is_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message of ours"):
        pipe.decode_report(wire)


@pytest.mark.parametrize(
    ("name", "most"),
    [("prompt", MOST_PROMPT_CHARACTERS), ("text", MOST_SAMPLE_CHARACTERS)],
)
def test_a_sample_is_bounded(name: str, most: int) -> None:
    content = {"type": "SampleGenerated", "epoch": 1, "prompt": "", "text": "", "time": 1.0}
    assert pipe.decode_report(line(content | {name: "x" * most}))
    with pytest.raises(ProtocolError):
        pipe.decode_report(line(content | {name: "x" * (most + 1)}))


@pytest.mark.parametrize(("loss", "perplexity"), [(0.0, 1.0), (math.log(8), 8.0), (1e9, math.inf)])
def test_perplexity_follows_from_the_loss(loss: float, perplexity: float) -> None:
    report = protocol.Evaluated(
        epoch=1, loss=loss, bits_per_byte=1.0, tokens=1, seconds=0.0, time=0.0
    )
    assert report.perplexity == pytest.approx(perplexity)


@pytest.mark.parametrize("report", REPORTS, **by_kind)
def test_report_is_refused_as_a_command(report: Report) -> None:
    with pytest.raises(ProtocolError):
        pipe.decode_command(pipe.encode(report))


@pytest.mark.parametrize("name", ["id", "spec", "initial_peers", "threads"])
def test_start_needs_its_fields(name: str) -> None:
    content = json.loads(pipe.encode(COMMANDS[0]))
    del content[name]
    with pytest.raises(ProtocolError, match=name):
        pipe.decode_command(line(content))


def test_error_quotes_only_the_begin_of_a_line() -> None:
    with pytest.raises(ProtocolError) as caught:
        pipe.decode_report(b"x" * 100_000)
    assert len(str(caught.value)) < 500


@given(wire=st.binary() | st.text().map(str.encode))
def test_random_bytes_are_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        pipe.decode_report(wire)
    with pytest.raises(ProtocolError):
        pipe.decode_command(wire)
