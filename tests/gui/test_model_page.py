"""The model page: what the model is, how it learns to write, and a text of one's own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app import protocol
from app.common.errors import ExportError, GenerationError
from app.generation.generation import Generation
from app.generation.process import WantedText, Written
from app.generation_messages import GenerationEnded, TextGenerated, WeightsLoaded
from app.p2p.sightings import Run
from app.spec.schema import SwarmSpec
from app.state.events import JoinBegan, Left, RunObserved
from app.state.facts import Swarm
from app.takeout.messages import ExportProgress, ExportStep, WeightsFetched
from tests.support.gui.windows import SWARM, TRAINING, WATCHING, Bench, clipped
from tests.support.machine.machines import record
from tests.support.training.specs import SMALLEST
from tests.support.training.works import contribution
from ui.pages.model import fetching
from ui.pages.model.fetching import FetchingRow
from ui.pages.model.page import ModelPage
from ui.texts import units

pytestmark = pytest.mark.gui

MARK = "<b>&amp;"
DOCS = SMALLEST | {"run_id": SWARM.run_id}


class ScriptedGeneration(Generation):
    """The real one, but a test says what is written. wanted: what the page asked for."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(
            bench.session.store, folders=bench.session.folders, bindings=bench.session.bindings
        )
        self.script: asyncio.Queue[Written | Exception] = asyncio.Queue()
        self.wanted: list[WantedText] = []

    async def write(self, spec: SwarmSpec, wanted: WantedText) -> AsyncIterator[Written]:
        self.wanted.append(wanted)
        while True:
            written = await self.script.get()
            if isinstance(written, Exception):
                raise written
            yield written
            if isinstance(written, GenerationEnded):
                return

    async def stop(self) -> None:
        self.script.put_nowait(GenerationEnded(reason="stopped", tokens=2, seconds=0.5))


def keep_weights(folder: Path, *, epoch: int = 12, role: str = "trainer") -> None:
    place = folder / "checkpoints" / SWARM.run_id / role
    place.mkdir(parents=True)
    (place / f"epoch-{epoch:09d}-0-0.pt").touch()


def sample(epoch: int, text: str, *, prompt: str = "Once ") -> protocol.SampleGenerated:
    return protocol.SampleGenerated(epoch=epoch, prompt=prompt, text=text, time=1000.0 + epoch)


EVALUATED = protocol.Evaluated(
    epoch=12, loss=2.0, bits_per_byte=2.885, tokens=4096, seconds=0.5, time=1012.0
)


@pytest.fixture
def page(bench: Bench) -> ModelPage:
    """The page of a machine that trains and has weights, with a scripted generation."""
    keep_weights(bench.session.folders.data)
    bench.session.generation = ScriptedGeneration(bench)
    bench.session.swarm.spec = SwarmSpec.model_validate(DOCS)
    bench.dispatch(*TRAINING)
    bench.open("Model")
    return bench.window.model.widget


def script(bench: Bench, *written: Written | Exception) -> None:
    assert isinstance(bench.session.generation, ScriptedGeneration)
    for each in written:
        bench.session.generation.script.put_nowait(each)


def test_it_needs_no_sideways_scrolling(page: ModelPage, bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(EVALUATED, sample(12, "upon a time"))
    wide = page.viewport().width()
    bench.window.resize(bench.window.minimumSizeHint())  # a screen of 1280 × 800 at 200 %
    qtbot.waitUntil(lambda: page.viewport().width() < wide)
    qtbot.waitUntil(lambda: page.horizontalScrollBar().maximum() == 0)


# --- what it is


def test_outside_of_a_swarm_it_says_where_models_are(bench: Bench) -> None:
    bench.open("Model")
    page = bench.window.model.widget
    assert page.empty.isVisible()
    for part in (page.cards, page.writing, page.samples):
        assert not part.isVisible()


def test_it_exports_where_there_are_weights(page: ModelPage, bench: Bench) -> None:
    asked: list[bool] = []
    bench.actions.export_wanted.disconnect()
    bench.actions.export_wanted.connect(lambda: asked.append(True))
    page.export.click()
    assert asked == [True]
    assert page.export.toolTip() == ""


@pytest.mark.parametrize(
    ("inside", "told"), [(True, "no weights of this model"), (False, "Join a swarm first")]
)
def test_without_weights_it_says_why_there_is_no_export(
    bench: Bench, inside: bool, told: str
) -> None:
    bench.session.swarm.spec = SwarmSpec.model_validate(DOCS)
    bench.dispatch(*(WATCHING if inside else ()))
    bench.open("Model")
    page = bench.window.model.widget
    assert not page.export.isEnabled()
    assert told in page.export.toolTip()
    assert page.export.accessibleDescription() == page.export.toolTip()
    keep_weights(bench.session.folders.data)
    bench.dispatch(*TRAINING)
    assert page.export.isEnabled()


def test_facts_come_from_state_and_spec(page: ModelPage, bench: Bench) -> None:
    now = time.time()
    machine = record(time=now, alias=MARK, state="training")
    bench.session.machines.fleet.take({"key": machine}, now)
    bench.dispatch(RunObserved(run=Run(epoch=1000, samples=0, trainers=7)), EVALUATED)
    page._timer.timeout.emit()
    assert page.facts.value("type") == "GPT-2"
    assert page.facts.value("parameters") == "0.84 M"
    assert page.facts.value("text") == "Python's documentation"
    assert page.facts.value("epochs") == "12"  # our trainer's is fresher than the records
    assert page.facts.value("seen") == "about 24.6 k tokens"
    assert page.quality.value("loss") == "2.000 (epoch 12)"
    assert page.quality.value("perplexity") == "7.39"
    assert page.quality.value("bits") == "2.885"
    assert page.quality.value("best") == "2.000 (epoch 12)"
    assert "7.39 equally likely" in page.meaning.text()
    assert page.trainers.value("trainers") == "7 peers"
    assert page.trainers.value("machines") == MARK
    assert page.trainers.value("since") == "hasn't trained yet"
    assert page.trainers.value("kept") == "epoch 12"


def test_it_says_since_when_this_machine_trains_it(
    page: ModelPage, bench: Bench, until_done: Callable[..., object], qtbot: QtBot
) -> None:
    until_done(bench.session.contributions.open())
    given = contribution(1, run_id=SWARM.run_id)
    until_done(bench.session.contributions.ledger.run(lambda ledger: ledger.add(given)))
    began = units.date(given.started_at)
    qtbot.waitUntil(lambda: bench.window.summary_model.summary is not None)
    qtbot.waitUntil(lambda: page.trainers.value("since") == began)


def test_without_an_evaluation_it_says_when_there_is_one(page: ModelPage) -> None:
    assert page.quality.value("loss") == "–"
    assert "Not evaluated here yet" in page.meaning.text()
    assert page.samples.empty.isVisible()
    assert not page.samples.table.isVisible()


# --- samples


def test_one_sees_it_learn_to_write(page: ModelPage, bench: Bench) -> None:
    bench.dispatch(sample(1, "xqzt"), sample(2, "the the"), sample(1, "{{", prompt="def "))
    samples = page.samples
    assert [each.epoch for each in samples.rows.shown] == [2, 1]
    assert samples.text.toPlainText() == "Once the the"
    samples.table.selectRow(1)
    assert samples.text.toPlainText() == "Once xqzt"
    bench.dispatch(sample(3, "there was"))
    assert [each.epoch for each in samples.rows.shown] == [3, 2, 1]
    samples.prompt.setCurrentIndex(1)
    assert samples.text.toPlainText() == "def {{"


def test_the_newest_text_is_read_unless_another_is_chosen(page: ModelPage, bench: Bench) -> None:
    samples = page.samples
    bench.dispatch(sample(1, "one"))
    bench.dispatch(sample(2, "two"))
    assert samples.text.toPlainText() == "Once two"
    samples.table.selectRow(1)
    bench.dispatch(sample(3, "three"))
    assert samples.text.toPlainText() == "Once one"
    assert samples.table.currentIndex().row() == 2


def test_samples_of_another_swarm_go_with_it(page: ModelPage, bench: Bench) -> None:
    bench.dispatch(sample(1, "xqzt"))
    assert page.samples.table.isVisible()
    other = Swarm(run_id="b", title="B", model_type="llama", dataset="d", target_batch_size=64)
    bench.dispatch(Left(), JoinBegan(swarm=other))
    assert page.samples.empty.isVisible()
    assert page.facts.value("type") == "Llama"


# --- a text of one's own


def test_who_only_watches_is_told_why_nothing_can_be_written(bench: Bench) -> None:
    bench.dispatch(*WATCHING)
    bench.open("Model")
    writing = bench.window.model.widget.writing
    assert "no weights of this model yet" in writing.why_not.text()
    assert "train here" in writing.why_not.text()
    assert writing.fetching.button.isVisible()
    assert not writing.prompt.isVisible()
    assert not writing.write.isVisible()
    keep_weights(bench.session.folders.data)
    bench.dispatch(*TRAINING)
    assert not writing.why_not.isVisible()
    assert writing.prompt.isVisible()
    assert not writing.fetching.isVisible()  # our trainer fetches them


class ScriptedFetch:
    """Stands for what fetches weights, in a process of its own; a test says when it ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ends: asyncio.Future[WeightsFetched] = asyncio.Future()
        self.stopped = False
        self.tell: Callable[[ExportProgress], None] | None = None
        monkeypatch.setattr(fetching, "fetch_weights", self.fetch)

    async def fetch(
        self, _spec: SwarmSpec, *, on_progress: Callable[[ExportProgress], None], **_rest: object
    ) -> WeightsFetched:
        self.tell = on_progress
        try:
            return await self.ends
        except asyncio.CancelledError:
            self.stopped = True
            raise


def watch_with(bench: Bench, *, epoch: int) -> FetchingRow:
    bench.session.swarm.spec = SwarmSpec.model_validate(DOCS)
    bench.dispatch(*WATCHING, RunObserved(run=Run(epoch=epoch, samples=0, trainers=2)))
    bench.open("Model")
    row = bench.window.model.widget.writing.fetching
    assert isinstance(row, FetchingRow)
    return row


def test_who_only_watches_fetches_the_weights(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, fetch = watch_with(bench, epoch=30), ScriptedFetch(monkeypatch)
    assert row.button.text() == "Fetch the weights"
    qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: fetch.tell is not None)
    assert row.button.text() == "Stop"
    assert fetch.tell is not None
    step = ExportStep.FETCHING
    fetch.tell(ExportProgress(step=step, done=5 * 10**6, size=10**7, seconds_left=3.2))
    assert row.status.text().endswith("5.0 of 10.0 MB, 50 %, 3 s left")
    keep_weights(bench.session.folders.data, epoch=30, role="watched")
    fetch.ends.set_result(WeightsFetched(epoch=30, from_door=True))
    qtbot.waitUntil(bench.window.model.widget.writing.prompt.isVisible)
    assert "snapshot of epoch 30 from the door" in row.status.text()
    assert not row.button.isVisible()
    bench.dispatch(RunObserved(run=Run(epoch=31, samples=0, trainers=2)))
    qtbot.waitUntil(row.button.isVisible)
    assert row.button.text() == "Fetch epoch 31"


@pytest.mark.parametrize("way", ["button", "training", "unseen", "another swarm"])
def test_fetching_is_stopped(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    row, fetch = watch_with(bench, epoch=30), ScriptedFetch(monkeypatch)
    qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: fetch.tell is not None)
    match way:
        case "button":
            qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
        case "training":
            bench.dispatch(*TRAINING)
        case "unseen":
            bench.open("Overview")
            bench.dispatch(*TRAINING)
        case _:
            other = Swarm(
                run_id="b", title="B", model_type="gpt2", dataset="d", target_batch_size=4
            )
            bench.dispatch(Left(), JoinBegan(swarm=other))
    qtbot.waitUntil(lambda: fetch.stopped and not row.is_fetching)
    assert row.status.text() == ("Stopped." if way == "button" else "")
    assert bench.session.store.state.problem is None


def test_what_keeps_weights_from_being_fetched_is_said(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, fetch = watch_with(bench, epoch=30), ScriptedFetch(monkeypatch)
    qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: fetch.tell is not None)
    fetch.ends.set_exception(ExportError(MARK, remedy="Try again."))
    qtbot.waitUntil(lambda: not row.is_fetching)
    assert row.status.text() == f"{MARK} Try again."
    assert row.button.text() == "Fetch the weights"


def test_a_text_appears_as_it_is_written(page: ModelPage, bench: Bench, qtbot: QtBot) -> None:
    writing = page.writing
    writing.prompt.setFocus()
    qtbot.keyClicks(writing.prompt, "Once ")
    qtbot.keyClick(writing.prompt, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert writing.write.text() == "Stop"
    assert "Loading the model" in writing.status.text()
    script(bench, WeightsLoaded(epoch=12), TextGenerated(text=f"{MARK}\n"))
    qtbot.waitUntil(lambda: writing.output.toPlainText() == f"Once {MARK}\n")
    assert "epoch 12" in writing.status.text()
    script(bench, TextGenerated(text="é"), GenerationEnded(reason="end", tokens=9, seconds=1.5))
    qtbot.waitUntil(lambda: writing.write.text() == "Write")
    assert writing.output.toPlainText() == f"Once {MARK}\né"
    assert "9 tokens in 1.5 s, with the weights of epoch 12" in writing.status.text()
    assert bench.session.generation.wanted[0].prompt == "Once "  # type: ignore[attr-defined]
    assert QApplication.focusWidget() is writing.prompt


def test_a_text_can_be_stopped(page: ModelPage, bench: Bench, qtbot: QtBot) -> None:
    writing = page.writing
    writing.length.setCurrentIndex(writing.length.findData("1000"))
    qtbot.mouseClick(writing.write, Qt.MouseButton.LeftButton)
    script(bench, WeightsLoaded(epoch=12))
    qtbot.waitUntil(writing.output.isVisible)
    qtbot.mouseClick(writing.write, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not writing.is_writing)
    assert writing.status.text().startswith("Stopped: 2 tokens")
    assert bench.session.generation.wanted == [  # type: ignore[attr-defined]
        WantedText(temperature=0.8, tokens=1000)
    ]


def test_what_goes_wrong_is_said_in_its_place(page: ModelPage, bench: Bench, qtbot: QtBot) -> None:
    writing = page.writing
    qtbot.mouseClick(writing.write, Qt.MouseButton.LeftButton)
    script(bench, GenerationError(MARK, remedy="Try again."))
    qtbot.waitUntil(lambda: not writing.is_writing)
    assert writing.status.text() == f"{MARK} Try again."
    assert bench.session.store.state.problem is None


def test_control_characters_of_a_model_are_shown_as_such(
    page: ModelPage, bench: Bench, qtbot: QtBot
) -> None:
    qtbot.mouseClick(page.writing.write, Qt.MouseButton.LeftButton)
    script(bench, WeightsLoaded(epoch=1), TextGenerated(text="\x1b[31m\u202egpj\x00"))
    qtbot.waitUntil(lambda: "gpj" in page.writing.output.toPlainText())
    assert page.writing.output.toPlainText() == "\ufffd[31m\ufffdgpj\ufffd"
    script(bench, GenerationEnded(reason="end", tokens=1, seconds=0.1))
    qtbot.waitUntil(lambda: not page.writing.is_writing)


@pytest.mark.parametrize("size", [(1280, 800), (960, 600)])
def test_nothing_is_clipped_with_texts_and_samples(
    page: ModelPage, bench: Bench, qtbot: QtBot, size: tuple[int, int]
) -> None:
    bench.window.resize(*size)
    bench.dispatch(EVALUATED, sample(1, "x" * 2000), sample(1, "y", prompt="p" * 200))
    qtbot.mouseClick(page.writing.write, Qt.MouseButton.LeftButton)
    script(bench, WeightsLoaded(epoch=1), GenerationEnded(reason="end", tokens=1, seconds=0.1))
    qtbot.waitUntil(lambda: not page.writing.is_writing)
    QApplication.processEvents()
    assert clipped(bench.window) == []
    assert page.widget().minimumSizeHint().width() <= page.viewport().width()


def test_a_hidden_page_changes_nothing(page: ModelPage, bench: Bench) -> None:
    bench.open("Overview")
    bench.dispatch(sample(1, "xqzt"))
    assert page.samples.rows.shown == []
    assert not page._timer.isActive()
    bench.open("Model")
    assert len(page.samples.rows.shown) == 1
