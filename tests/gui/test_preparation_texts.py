"""What a trainer does before its first step, in words."""

import pytest

from app.protocol import FileDownload, StateDownload, TrainerPhase
from app.state.state import ContributorState, Phase
from ui.texts import preparation, states

pytestmark = pytest.mark.gui

MIB = 2**20


@pytest.mark.parametrize(
    ("download", "words"),
    [
        (
            FileDownload(what="weights", received=128 * MIB, size=512 * MIB, seconds_left=20.2),
            "Downloading the weights to begin with: 128 of 512 MiB (25\u00a0%), about 20 s left…",
        ),
        (
            FileDownload(what="tokenizer", received=MIB, size=2 * MIB, seconds_left=None),
            "Downloading the tokenizer: 1 of 2 MiB (50\u00a0%)…",
        ),
        (
            FileDownload(what="data", received=3 * MIB, size=None, seconds_left=None),
            "Downloading the training data: 3 MiB so far…",
        ),
        (
            StateDownload(received=0, size=9, seconds_left=None, problem="x"),
            "Waiting for a peer that gives the model's state: x. Nothing is trained until then.",
        ),
        # what has arrived is worked on
        (FileDownload(what="data", received=9, size=9, seconds_left=0.0), "Building the model…"),
        (None, "Building the model…"),
    ],
)
def test_a_download_is_said_in_figures(
    download: FileDownload | StateDownload | None, words: str
) -> None:
    assert preparation.sentence(TrainerPhase.PREPARING_MODEL, None, download) == words


def test_files_that_are_read_before_a_trainer_is_there_are_named() -> None:
    reading = ContributorState(phase=Phase.PREPARING)
    assert "Reading the files of this machine" in states.explanation(reading)
