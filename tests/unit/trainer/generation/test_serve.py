"""A text comes in whole characters, as long as asked for, and ends when it is stopped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.generation_messages import (
    MOST_TEXT,
    Generate,
    GenerationEnded,
    OpenModel,
    TextGenerated,
    WeightsLoaded,
)
from app.protocol import Message
from app.trainer.data.decoding import ByteDecoder
from app.trainer.generation import serve
from app.trainer.generation.writer import Writer
from tests.support.training.checkpoints import keep
from tests.support.training.models import spec_of

SPEC = spec_of()


class Asked:
    """Stands for the app's commands. stopped: the text is to end, after so many questions."""

    def __init__(self, after: int = 10**9) -> None:
        self._left = after

    @property
    def stopped(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., list[Message]]:
    """Writes with a model that knows one byte; returns the reports."""

    def made(byte: int, *, tokens: int = 12, stop_after: int = 10**9) -> list[Message]:
        keep(SPEC, tmp_path, epoch=7, writes=byte)
        opened = OpenModel(spec=SPEC.to_json(), checkpoint_dirs=(str(tmp_path),), cache_dir="")
        reports: list[Message] = []
        wanted = Generate(prompt="ab", temperature=0.0, tokens=tokens)
        serve.write(
            Writer(opened),
            wanted,
            requests=Asked(stop_after),  # type: ignore[arg-type]
            send=reports.append,
        )
        return reports

    return made


def text_of(reports: list[Message]) -> str:
    return "".join(each.text for each in reports if isinstance(each, TextGenerated))


def end_of(reports: list[Message]) -> GenerationEnded:
    assert isinstance(reports[0], WeightsLoaded)
    assert reports[0].epoch == 7
    assert isinstance(reports[-1], GenerationEnded)
    return reports[-1]


def test_a_text_is_as_long_as_asked_for(write: Callable[..., list[Message]]) -> None:
    reports = write(ord("x"))
    assert text_of(reports) == 12 * "x"
    assert (end_of(reports).reason, end_of(reports).tokens) == ("length", 12)


def test_a_text_ends_where_the_model_ends_it(write: Callable[..., list[Message]]) -> None:
    reports = write(0)
    assert text_of(reports) == ""
    assert (end_of(reports).reason, end_of(reports).tokens) == ("end", 0)


def test_a_text_that_is_stopped_ends(write: Callable[..., list[Message]]) -> None:
    reports = write(ord("x"), tokens=1000, stop_after=5)
    assert end_of(reports).reason == "stopped"
    assert 0 < end_of(reports).tokens < 10


def test_pieces_come_soon_and_not_too_often(
    write: Callable[..., list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "PIECE_SECONDS", 0.0)
    pieces = [each for each in write(ord("x"), tokens=5) if isinstance(each, TextGenerated)]
    assert [each.text for each in pieces] == ["x"] * 5
    monkeypatch.setattr(serve, "PIECE_SECONDS", 1e9)
    pieces = [each for each in write(ord("x"), tokens=5) if isinstance(each, TextGenerated)]
    assert [each.text for each in pieces] == ["xxxxx"]


def test_half_a_character_is_never_shown_as_a_whole_one(
    write: Callable[..., list[Message]],
) -> None:
    reports = write(0xC3, tokens=3)  # the first byte of é, again and again
    assert text_of(reports) == 3 * "\N{REPLACEMENT CHARACTER}"


def test_a_tokenizer_of_endless_tokens_fills_no_memory(
    write: Callable[..., list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ByteDecoder, "add", lambda _self, _token: "W" * 1_000_000)
    reports = write(ord("x"), tokens=1000)
    assert text_of(reports) == "W" * MOST_TEXT
    assert end_of(reports).tokens < 3
