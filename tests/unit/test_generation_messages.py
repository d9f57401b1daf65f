"""What travels between the app and the process that writes texts is typed and bounded."""

import json
from typing import Any

import pytest

from app import pipe
from app.common.errors import ProtocolError
from app.generation_messages import (
    MOST_PROMPT,
    MOST_TEMPERATURE,
    MOST_TEXT,
    MOST_TOKENS,
    Generate,
    GenerationEnded,
    OpenModel,
    StopGenerating,
    TextGenerated,
    WeightsLoaded,
    decode_command,
    decode_report,
)
from app.protocol import Hello, Message, TrainerProblem

COMMANDS = (
    OpenModel(
        spec={"run_id": "öde"}, checkpoint_dirs=("/c/trainer",), cache_dir="/d", max_memory=2**33
    ),
    Generate(prompt="Es war einmal\n", temperature=0.8, tokens=200),
    StopGenerating(),
)
REPORTS = (
    Hello(version=1, pid=2),
    WeightsLoaded(epoch=7),
    TextGenerated(text="ein König,\n"),
    GenerationEnded(reason="stopped", tokens=5, seconds=0.5),
    TrainerProblem(message="is wrong."),
)
GENERATE = {"type": "Generate", "prompt": "", "temperature": 1.0, "tokens": 10}

by_kind = {"ids": lambda message: type(message).__name__}


@pytest.mark.parametrize("command", COMMANDS, **by_kind)
def test_command_arrives_as_sent(command: Message) -> None:
    assert decode_command(pipe.encode(command)) == command
    with pytest.raises(ProtocolError):
        decode_report(pipe.encode(command))


@pytest.mark.parametrize("report", REPORTS, **by_kind)
def test_report_arrives_as_sent(report: Message) -> None:
    assert decode_report(pipe.encode(report)) == report
    with pytest.raises(ProtocolError):
        decode_command(pipe.encode(report))


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x" * (MOST_PROMPT + 1)},
        {"temperature": -0.1},
        {"temperature": MOST_TEMPERATURE + 0.1},
        {"tokens": 0},
        {"tokens": MOST_TOKENS + 1},
        {"colour": "red"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_text_without_bounds_is_refused(fields: dict[str, Any]) -> None:
    assert decode_command(json.dumps(GENERATE).encode())
    with pytest.raises(ProtocolError):
        decode_command(json.dumps(GENERATE | fields).encode())


def test_a_piece_without_bounds_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode_report(pipe.encode(TextGenerated(text="x" * (MOST_TEXT + 1))))
