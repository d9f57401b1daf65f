"""Joining: a swarm is chosen, previewed, and joined only when the user agrees."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QFileOpenEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from app.lifecycle.handover import Request
from app.p2p.calls import CallError
from app.protocol import Devices
from app.settings.settings import Settings
from app.spec import invite
from app.spec import schema as spec
from app.spec.schema import SwarmSpec
from app.state.events import DeviceChosen, TermsJudged
from app.state.state import ContributorState
from app.swarm.look import SeenFromOutside
from app.terms.terms import Terms, Verdict
from tests.support.gui.windows import CPU, DEVICES, WATCHING, Bench
from tests.support.training.specs import PEER, SMALLEST
from ui.application import Application
from ui.dialogs.join.dialog import INVITE, RECENT, JoinDialog
from ui.dialogs.line import LineCard
from ui.texts import costs

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
DIARY = {"source": "files", "paths": ["~/diary.txt"]}
SLOT = {"source": "slot", "label": "corpus", "description": "Poems, a file each"}
POEMS = spec.parse({**SMALLEST, "run_id": "poems", "title": "Poems", "initial_peers": [PEER]})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "poems.cotrain"
    invite.save(POEMS, path)
    return path


def dialog_of(bench: Bench, qtbot: QtBot) -> JoinDialog:
    qtbot.waitUntil(lambda: "join" in bench.window.dialogs._shown)
    dialog = bench.window.dialogs._shown["join"]
    assert isinstance(dialog, JoinDialog)
    return dialog


@pytest.fixture
def dialog(bench: Bench, qtbot: QtBot) -> JoinDialog:
    bench.dispatch(*DEVICES)
    bench.window.dialogs.join()
    return dialog_of(bench, qtbot)


def wait_for_preview(dialog: JoinDialog, qtbot: QtBot, title: str = "Poems") -> None:
    qtbot.waitUntil(lambda: dialog.preview.isVisible() and dialog.preview.title.full == title)


def texts_in(widget: QWidget) -> str:
    return "\n".join(each.text() for each in widget.findChildren(QLabel) if each.isVisible())


# --- from where ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["primary", "card", "menu"])
def test_ways_to_the_dialog(bench: Bench, qtbot: QtBot, way: str) -> None:
    overview = bench.window.overview
    match way:
        case "primary":
            qtbot.mouseClick(overview.headline.primary, LEFT)
        case "card":
            qtbot.mouseClick(overview.welcome.join, LEFT)
        case _:
            QTest.keyClick(bench.window, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    dialog = dialog_of(bench, qtbot)
    assert dialog.invite.link.isVisible()
    assert not dialog.preview.isVisible()


def test_pasted_link_is_previewed_and_nothing_joined(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot
) -> None:
    qtbot.keyClicks(dialog.invite.link, "x")
    dialog.invite.link.setText(f"  <{invite.as_link(POEMS)}> ")
    qtbot.keyClick(dialog.invite.link, Qt.Key.Key_Return)
    wait_for_preview(dialog, qtbot)
    assert bench.session.calls == []


def test_file_is_previewed(bench: Bench, dialog: JoinDialog, qtbot: QtBot, file: Path) -> None:
    dialog.invite.opened.emit(str(file))
    wait_for_preview(dialog, qtbot)


def test_recent_swarm_is_previewed(bench: Bench, qtbot: QtBot, loop: Any) -> None:
    remembering = loop.create_task(bench.session.recents.remember(POEMS))
    qtbot.waitUntil(remembering.done)
    bench.window.dialogs.join()
    dialog = dialog_of(bench, qtbot)
    qtbot.waitUntil(lambda: dialog.recent.list.count() == 1)
    qtbot.mouseClick(dialog.tabs.button(RECENT), LEFT)
    assert "Poems" in dialog.recent.list.item(0).text()
    qtbot.keyClick(dialog.recent.list, Qt.Key.Key_Return)
    wait_for_preview(dialog, qtbot)
    calls = bench.session.calls  # the same Return must not agree as well
    qtbot.waitUntil(lambda: calls == ["look at poems"])  # we were in it: it may be asked


def test_recent_swarm_is_forgotten(bench: Bench, qtbot: QtBot, loop: Any) -> None:
    remembering = loop.create_task(bench.session.recents.remember(POEMS))
    qtbot.waitUntil(remembering.done)
    bench.window.dialogs.join()
    dialog = dialog_of(bench, qtbot)
    qtbot.waitUntil(lambda: dialog.recent.list.count() == 1)
    dialog.open_tab(RECENT)
    qtbot.keyClick(dialog.recent.list, Qt.Key.Key_Delete)
    qtbot.waitUntil(dialog.recent.empty.isVisible)
    assert json.loads(bench.session.folders.recents_file.read_text()) == []


def mime(**content: Any) -> QMimeData:
    data = QMimeData()
    if "urls" in content:
        data.setUrls([QUrl(url) for url in content["urls"]])
    if "text" in content:
        data.setText(content["text"])
    return data


def drop(window: QWidget, data: QMimeData) -> bool:
    """Drop data onto the window; returns whether the window accepted it."""
    action, key = Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(9, 9), action, data, LEFT, key)
    enter.ignore()
    QApplication.sendEvent(window, enter)
    if enter.isAccepted():
        QApplication.sendEvent(window, QDropEvent(QPointF(9, 9), action, data, LEFT, key))
    return enter.isAccepted()


@pytest.mark.parametrize("kind", ["file", "link", "text"])
def test_what_is_dropped_is_previewed(bench: Bench, qtbot: QtBot, file: Path, kind: str) -> None:
    link = invite.as_link(POEMS)
    data = {
        "file": mime(urls=[QUrl.fromLocalFile(str(file))]),
        "link": mime(urls=[link]),
        "text": mime(text=f" {link}\n"),
    }[kind]
    assert drop(bench.window, data)
    wait_for_preview(dialog_of(bench, qtbot), qtbot)
    assert bench.session.calls == []


def test_anything_else_is_not_taken(bench: Bench) -> None:
    assert not drop(bench.window, mime(text="a poem"))
    assert not drop(bench.window, mime(urls=["https://example.org"]))


def test_second_start_brings_the_window_to_front_and_is_previewed(
    bench: Bench, qtbot: QtBot, file: Path
) -> None:
    bench.window.showMinimized()
    bench.window.dialogs.receive(Request(show=True, invite=str(file)))
    wait_for_preview(dialog_of(bench, qtbot), qtbot)
    assert not bench.window.isMinimized()
    assert bench.window.isVisible()


def test_another_invite_takes_the_place_of_the_first(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot, file: Path
) -> None:
    dialog.show_spec(spec.parse({**SMALLEST, "title": "First"}))
    bench.window.dialogs.receive(Request(show=True, invite=str(file)))
    wait_for_preview(dialog, qtbot)
    assert dialog_of(bench, qtbot) is dialog


def test_file_that_macos_opens_is_previewed(bench: Bench, qtbot: QtBot, file: Path) -> None:
    application = QApplication.instance()
    assert isinstance(application, Application)
    application.opened.connect(bench.window.dialogs.join)
    QApplication.sendEvent(application, QFileOpenEvent(str(file)))
    application.opened.disconnect(bench.window.dialogs.join)
    wait_for_preview(dialog_of(bench, qtbot), qtbot)


def test_closing_window_opens_no_dialog(bench: Bench, file: Path) -> None:
    bench.window.show_closing()
    bench.window.dialogs.receive(Request(show=True, invite=str(file)))
    assert bench.window.dialogs._shown == {}


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hello", "is no invite"),
        ("cotrain://join?v=1&spec=abc", "is damaged"),
        (json.dumps({**SMALLEST, "run_id": ""}), "run_id: "),
        (
            json.dumps({**SMALLEST, "model_config": {"model_type": "gpt2", "n_layer": "x"}}),
            "model_config.n_layer: ",
        ),
        (json.dumps({**SMALLEST, "dataset_info": DIARY}), "dataset_info.paths: "),
    ],
)
def test_mistake_is_said_at_the_field(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot, text: str, told: str
) -> None:
    dialog.invite.link.setText(text)
    qtbot.mouseClick(dialog.invite.view, LEFT)
    qtbot.waitUntil(dialog.invite.link_error.isVisible)
    assert told in dialog.invite.link_error.text()
    assert dialog.invite.link.hasFocus() or not dialog.isActiveWindow()
    assert not dialog.preview.isVisible()
    assert bench.session.store.state.problem is None
    dialog.invite.link.setText("cotrain:")
    assert not dialog.invite.link_error.isVisible()


def test_file_that_is_missing_is_said(bench: Bench, qtbot: QtBot, tmp_path: Path) -> None:
    bench.window.dialogs.receive(Request(show=True, invite=str(tmp_path / "no.cotrain")))
    dialog = dialog_of(bench, qtbot)
    qtbot.waitUntil(dialog.invite.file_error.isVisible)
    assert dialog.invite.file_error.text().startswith("“no.cotrain” can't be read")
    assert not dialog.invite.link_error.isVisible()


def test_empty_field_offers_nothing(dialog: JoinDialog, qtbot: QtBot) -> None:
    assert not dialog.invite.view.isEnabled()
    qtbot.keyClick(dialog.invite.link, Qt.Key.Key_Return)
    assert dialog.isVisible()


# --- the preview ---------------------------------------------------------------------------------


def test_preview_says_what_it_takes_and_what_leaves(dialog: JoinDialog) -> None:
    dialog.show_spec(POEMS)
    facts = dialog.preview.facts
    assert facts.value("memory").endswith("of 12 GiB, fits")
    words = texts_in(dialog.preview)
    for told in ("GPT-2", "parameters", "gradients", "network address", "Your files"):
        assert told in words


def test_preview_names_all_sources_of_a_mixture(dialog: JoinDialog) -> None:
    parts = [{"weight": n, "data": {"source": "hub", "name": f"us/{n}"}} for n in (1, 3)]
    data = {"source": "mixture", "parts": parts}
    dialog.show_spec(spec.parse(SMALLEST | {"dataset_info": data}))
    assert "75\u00a0%: Hugging Face data set us/3" in dialog.preview.subtitle.text()


def test_preview_explains_its_figures(dialog: JoinDialog, qtbot: QtBot) -> None:
    dialog.show_spec(POEMS)
    assert not dialog.preview.explanation.isVisible()
    qtbot.mouseClick(dialog.preview.why, LEFT)
    words = texts_in(dialog.preview.explanation)
    for told in ("Gradients", "Activations", "Checkpoints", "an hour each way", "In each epoch"):
        assert told in words


# --- the line

LARGE = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12}


def large(strategy: str = "gradient-averaging", run_id: str = "large") -> SwarmSpec:
    training = {"strategy": strategy, "target_batch_size": 512, "sequence_length": 1024}
    changes = {"run_id": run_id, "model_config": LARGE, "training_params": training}
    return spec.parse(SMALLEST | changes)


def percent(line: LineCard) -> int:
    return int(line.value("computing").split()[0])


def test_preview_says_what_the_line_carries(dialog: JoinDialog) -> None:
    dialog.show_spec(large())
    line = dialog.preview.line
    assert (line.uplink.value, line.peers.value) == ("20", "8")
    assert percent(line) < 10
    assert "stops computing for" in line.note.text()
    line.uplink.set_value("10000")
    assert percent(line) > 90
    line.uplink.set_value("20")
    dialog.show_spec(large("sparseloco"))
    assert percent(line) > 90
    assert line.value("upload").endswith("an hour")
    assert "beside computing" in line.note.text()


def test_wrong_line_is_marked_and_shows_no_figures(dialog: JoinDialog) -> None:
    dialog.show_spec(large())
    line = dialog.preview.line
    for field, wrong in ((line.uplink, "0"), (line.uplink, "nan"), (line.peers, "2.5")):
        right = field.value
        field.set_value(wrong)
        assert field.error.isVisible()
        assert line.value("computing") == line.value("upload") == "–"
        field.set_value(right)
        assert not field.error.isVisible()
        assert line.value("computing") != "–"


def test_entered_line_is_remembered(bench: Bench, dialog: JoinDialog, qtbot: QtBot) -> None:
    dialog.show_spec(large())
    control = dialog.preview.line.uplink.control
    qtbot.keyClicks(control, "0")  # 200
    QTest.keyClick(control, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bench.session.store.settings.uplink == 200.0)
    dialog.show_spec(POEMS)
    assert dialog.preview.line.uplink.value == "200"
    assert dialog.preview.line.uplink.hint.text() == "As you have set it"


def test_terms_and_the_swarm_that_we_are_in_count(bench: Bench, dialog: JoinDialog) -> None:
    bench.dispatch(*WATCHING)
    dialog.show_spec(large(run_id="docs"))
    assert dialog.preview.line.peers.value == "7"
    free = dialog.preview.line.value("rounds")
    limited = Terms(max_upload=1)
    bench.dispatch(TermsJudged(terms=limited, verdict=Verdict()))
    dialog.show_spec(large(run_id="docs"))
    assert dialog.preview.line.value("rounds") != free


def test_preview_follows_the_device(bench: Bench, dialog: JoinDialog) -> None:
    dialog.show_spec(POEMS)
    before = dialog.preview.facts.value("memory")
    bench.dispatch(Devices(devices=(CPU,), torch_version=""), DeviceChosen(device="cpu"))
    assert dialog.preview.facts.value("memory") != before


def shown_cautions(dialog: JoinDialog, found: SwarmSpec) -> str:
    dialog.show_spec(found)
    QApplication.processEvents()
    layout = dialog.preview.cautions
    return "\n".join(
        layout.itemAt(index).widget().accessibleName() for index in range(layout.count())
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"dataset_info": {"source": "files", "paths": ["~/diary.txt"]}}, "files of this machine"),
        ({"dataset_info": {"source": "slot", "label": "corpus"}}, "files that you choose"),
        ({"model_config": {"model_type": "llama"}}, "too little memory"),
        ({"initial_peers": []}, "you would be its first"),
        ({"about": {"until": "2020-01-31"}}, "until 2020-01-31: it may have ended"),
        ({"local": True}, "Only apps on this machine"),
        (
            {"dataset_info": {"source": "builtin", "tokenizer": {"kind": "file", "path": "t"}}},
            "the tokenizer t",
        ),
    ],
)
def test_preview_warns(dialog: JoinDialog, change: dict[str, Any], told: str) -> None:
    assert told in shown_cautions(dialog, spec.parse(POEMS.to_json() | change))
    assert told not in shown_cautions(dialog, POEMS)


ABOUT = {
    "purpose": "Old letters",
    "organiser": "The library",
    "until": "9999-12-31",
    "licence": "CC-BY-4.0",
    "contact": "javascript:alert(1)",
}


def test_preview_says_what_it_is_for(dialog: JoinDialog) -> None:
    dialog.show_spec(spec.parse(POEMS.to_json() | {"about": ABOUT}))
    card = dialog.preview.about
    words = texts_in(card)
    for told in (*ABOUT.values(), "anybody can have written this"):
        assert told in words
    assert all(not each.openExternalLinks() for each in card.findChildren(QLabel))
    assert "meant to run until" not in texts_in(dialog.preview)
    dialog.show_spec(POEMS)
    assert not card.isVisible()


def test_whether_anybody_is_there_is_asked_when_wanted(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot
) -> None:
    bench.session.store.replace_settings(Settings(lab="ours"))
    bench.session.seen = [
        SeenFromOutside(called=2, answered=1, machines=14, of_lab=3, training=12),
    ]
    dialog.show_spec(POEMS)
    look = dialog.preview.look
    assert "see this machine's" in look.said.text()
    assert bench.session.calls == []  # an invite alone has this machine call nobody
    qtbot.mouseClick(look.ask, LEFT)
    words = ("Reachable", "14 machines", "3 of your lab", "12 train now")
    qtbot.waitUntil(lambda: look.said.text() == " · ".join(words))
    assert bench.session.calls == ["look at poems"]
    looking = look._looking
    assert looking is not None
    dialog.choose()
    qtbot.waitUntil(looking.cancelled)
    assert look.ask.isEnabled()


def test_that_nobody_answers_is_said(bench: Bench, dialog: JoinDialog, qtbot: QtBot) -> None:
    bench.session.seen = [SeenFromOutside(called=2, answered=0)]
    dialog.show_spec(POEMS)
    dialog.preview.look.ask.click()
    qtbot.waitUntil(lambda: "Nobody answers: 2 peers" in dialog.preview.look.said.text())
    dialog.show_spec(spec.parse(SMALLEST))
    assert not dialog.preview.look.isVisible()  # there is nobody to ask


def test_that_it_can_not_be_asked_is_said(bench: Bench, dialog: JoinDialog, qtbot: QtBot) -> None:
    bench.session.refusal = CallError("no node")
    dialog.show_spec(POEMS)
    dialog.preview.look.ask.click()
    qtbot.waitUntil(lambda: "can't be asked: no node" in dialog.preview.look.said.text())
    assert dialog.preview.look.ask.isEnabled()


def test_what_is_over_may_be_joined_all_the_same(dialog: JoinDialog) -> None:
    dialog.show_spec(spec.parse(POEMS.to_json() | {"about": {"until": "2020-01-31"}}))
    assert dialog.join.isEnabled()


def test_preview_says_that_another_swarm_is_left(bench: Bench, dialog: JoinDialog) -> None:
    bench.dispatch(*WATCHING)
    assert "Joining leaves the swarm" in shown_cautions(dialog, POEMS)


# --- files of this machine -----------------------------------------------------------------------


def with_slot(**changes: Any) -> SwarmSpec:
    return spec.parse(POEMS.to_json() | {"dataset_info": SLOT | changes})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(9):
        (folder / f"poem-{number}.txt").write_text("words", encoding="utf-8")
    return folder


def test_slot_must_be_filled_before_joining(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot, corpus: Path
) -> None:
    dialog.show_spec(with_slot())
    (row,) = dialog.preview.files.rows
    assert "Poems, a file each" in texts_in(row)
    assert not dialog.join.isEnabled()
    row.choose(str(corpus))
    qtbot.waitUntil(dialog.join.isEnabled)
    assert "9 files, 45 B" in row.chosen.full
    qtbot.mouseClick(dialog.join, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["join poems", "start"])
    assert bench.session.bindings.of("poems") == {"corpus": corpus}


def test_all_files_that_would_be_read_are_listed(
    dialog: JoinDialog, qtbot: QtBot, corpus: Path
) -> None:
    dialog.show_spec(with_slot())
    dialog.preview.files.rows[0].choose(str(corpus))
    qtbot.waitUntil(dialog.join.isEnabled)
    listed = dialog.preview.files.list.toPlainText().split("\n")
    assert listed == [str(corpus / f"poem-{number}.txt") for number in range(9)]
    paths = [f"~/texts/{number}.txt" for number in range(300)]
    own = POEMS.to_json() | {"dataset_info": {"source": "files", "paths": paths}}
    dialog.show_spec(spec.parse(own))
    assert dialog.preview.files.list.toPlainText().split("\n") == paths
    assert dialog.join.isEnabled()
    dialog.show_spec(POEMS)
    assert not dialog.preview.files.isVisible()


def test_what_was_chosen_earlier_is_filled_in(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot, corpus: Path
) -> None:
    bench.session.bindings.choose("poems", {"corpus": str(corpus)})
    dialog.show_spec(with_slot())
    qtbot.waitUntil(dialog.join.isEnabled)
    assert dialog.preview.files.chosen == {"corpus": str(corpus)}


def test_file_that_does_not_fit_is_said_at_its_slot(
    dialog: JoinDialog, qtbot: QtBot, corpus: Path
) -> None:
    dialog.show_spec(with_slot(bytes=45))
    (row,) = dialog.preview.files.rows
    row.choose(str(corpus / "poem-1.txt"))
    qtbot.waitUntil(row.error.isVisible)
    assert "has 5 bytes instead of 45" in row.error.text()
    assert not dialog.join.isEnabled()
    row.choose(str(corpus))
    qtbot.waitUntil(dialog.join.isEnabled)
    assert not row.error.isVisible()


def test_slot_need_not_be_filled_to_watch(bench: Bench, dialog: JoinDialog, qtbot: QtBot) -> None:
    dialog.show_spec(with_slot())
    qtbot.mouseClick(dialog.watch, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["join poems"])


def test_recent_swarm_of_ours_keeps_its_paths(bench: Bench, qtbot: QtBot, loop: Any) -> None:
    own = spec.parse(POEMS.to_json() | {"dataset_info": DIARY})
    remembering = loop.create_task(bench.session.recents.remember(own))
    qtbot.waitUntil(remembering.done)
    bench.window.dialogs.join()
    dialog = dialog_of(bench, qtbot)
    dialog.invite.link.setText(json.dumps(own.to_json()))  # saved by an earlier version
    qtbot.keyClick(dialog.invite.link, Qt.Key.Key_Return)
    wait_for_preview(dialog, qtbot)
    assert dialog.preview.files.list.toPlainText() == "~/diary.txt"


# --- agreeing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "calls"), [("watch", ["join poems"]), ("join", ["join poems", "start"])]
)
def test_only_agreeing_joins(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot, which: str, calls: list[str]
) -> None:
    dialog.show_spec(POEMS)
    qtbot.mouseClick(getattr(dialog, which), LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == calls)
    assert bench.window.dialogs._shown == {}


def test_keyboard_alone_joins(make_bench: Callable[..., Bench], qtbot: QtBot) -> None:
    bench = make_bench()
    bench.window.dialogs.join()
    dialog = dialog_of(bench, qtbot)
    dialog.invite.link.setText(invite.as_link(POEMS))
    qtbot.keyClick(dialog.invite.link, Qt.Key.Key_Return)
    wait_for_preview(dialog, qtbot)
    qtbot.keyClick(dialog.join, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: bench.session.calls == ["join poems", "start"])


def test_escape_and_back_join_nothing(bench: Bench, dialog: JoinDialog, qtbot: QtBot) -> None:
    dialog.show_spec(POEMS)
    qtbot.mouseClick(dialog.back, LEFT)
    assert dialog.invite.link.isVisible()
    assert dialog.tabs.checkedId() == INVITE
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert bench.window.dialogs._shown == {}
    assert bench.session.calls == []


def test_agreeing_before_the_session_is_open_waits(
    make_bench: Callable[..., Bench], qtbot: QtBot
) -> None:
    bench = make_bench(opened=False)
    bench.window.dialogs.join()
    dialog = dialog_of(bench, qtbot)
    dialog.show_spec(POEMS)
    qtbot.mouseClick(dialog.watch, LEFT)
    qtbot.waitUntil(lambda: not bench.window.overview.welcome.demo.isEnabled())
    assert bench.session.calls == []
    bench.actions._opened.set_result(None)
    qtbot.waitUntil(lambda: bench.session.calls == ["join poems"])


def test_preview_drops_what_it_showed(dialog: JoinDialog, qtbot: QtBot) -> None:
    """A preview that is shown again holds no more widgets than before."""
    for _ in range(2):
        dialog.show_spec(POEMS)
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        counts = len(dialog.preview.findChildren(QLabel))
    dialog.show_spec(POEMS)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert len(dialog.preview.findChildren(QLabel)) == counts


def test_downloads_are_said_with_their_size() -> None:
    commit = {"name": "us/model", "revision": "a" * 40}
    begins = {
        **SMALLEST,
        "model_config": {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 4}
        | {"vocab_size": 256},
        "training_params": SMALLEST["training_params"] | {"adapters": {}},
        "pretrained": commit | {"source": "hub", "bytes": 2**20},
    }
    tokenizer = commit | {"kind": "hub", "name": "us/words", "bytes": 2**21}
    found = spec.parse(begins | {"dataset_info": {"source": "builtin", "tokenizer": tokenizer}})
    estimated = costs.estimate_for(found, None)
    said = [each.text for each in costs.cautions(found, estimated, ContributorState())]
    assert "It downloads the weights of us/model from the Hugging Face hub, about 1 MiB." in said
    words = "the tokenizer of us/words from the Hugging Face hub"
    assert f"It downloads {words}, about 2 MiB." in said
    assert "trained, as adapters" in costs.subtitle(found, estimated)
    with_bytes = spec.parse(begins)
    texts = [each.text for each in costs.cautions(with_bytes, estimated, ContributorState())]
    assert any(text.startswith("Its tokens are bytes") for text in texts)
