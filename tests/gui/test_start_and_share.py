"""Starting a swarm: the form, its mistakes, and the invite for others."""

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.protocol import Devices
from app.spec import invite
from app.spec import schema as spec
from app.spec.form import draft, names
from app.spec.schema import SwarmSpec
from app.state.events import DeviceChosen, Joined, Left
from tests.support.gui.windows import CPU, DEVICES, WATCHING, Bench, clipped, in_tab_order, name_of
from tests.support.training.specs import HASH, SMALLEST
from ui.dialogs import qr
from ui.dialogs.share import ShareDialog
from ui.dialogs.start.dialog import StartDialog

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
PEER_ID = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
NEAR = f"/ip4/192.168.1.7/tcp/8080/p2p/{PEER_ID}"
FAR = f"/ip4/1.1.1.1/tcp/8080/p2p/{PEER_ID}"
LOOPBACK = f"/ip4/127.0.0.1/tcp/8080/p2p/{PEER_ID}"
OURS = spec.parse({**SMALLEST, "run_id": "poems", "title": "Poems"})


# --- starting ------------------------------------------------------------------------------------


@pytest.fixture
def questions(bench: Bench) -> StartDialog:
    """The dialog as it opens."""
    bench.dispatch(*DEVICES)
    bench.window.dialogs.start()
    dialog = bench.window.dialogs._shown["start"]
    assert isinstance(dialog, StartDialog)
    return dialog


@pytest.fixture
def form(questions: StartDialog) -> StartDialog:
    """All of it."""
    questions.folded.more.setChecked(True)
    return questions


@pytest.fixture
def started(form: StartDialog) -> list[tuple[SwarmSpec, bool]]:
    found: list[tuple[SwarmSpec, bool]] = []
    form.accepted_spec.connect(lambda swarm, train: found.append((swarm, train)))
    return found


def test_form_has_every_text_and_begins_right(form: StartDialog) -> None:
    assert set(form.values) == set(names.DEFAULTS)
    others = {"run_id", *draft.strategy_fields()}
    assert {k: v for k, v in form.values.items() if k not in others} == {
        k: v for k, v in names.DEFAULTS.items() if k not in others
    }
    assert form.advice.title.text().startswith("As recommended")
    assert "parameters" in form.summary.text()


# --- four questions


def test_four_questions_are_asked_and_all_else_is_folded(questions: StartDialog) -> None:
    asked = {name for name, field in questions.fields.items() if field.isVisibleTo(questions)}
    about = {name for name in names.DEFAULTS if name.startswith("about.")}
    assert asked == {"title", "dataset_info.source", "organiser.access", "local", *about}
    assert questions.advice.isVisibleTo(questions)
    assert not questions.line.isVisibleTo(questions)
    questions.folded.more.setFocus()
    QTest.keyClick(questions.folded.more, Qt.Key.Key_Space)
    assert questions.fields["training_params.strategy"].isVisibleTo(questions)


def test_questions_are_reached_by_keyboard_in_order(questions: StartDialog) -> None:
    averaged(questions)
    reached = in_tab_order(questions)
    expected = [
        *(questions.title.control, questions.sizes.buttons["small"]),
        *(questions.line.uplink.control, questions.line.peers.control, questions.advice.take),
        *(questions.fields[name].control for name in ("dataset_info.source", "organiser.access")),
        *(questions.fields["about.purpose"].control, questions.folded.more, questions.start),
    ]
    assert [each for each in reached if each in expected] == expected
    assert all(name_of(each) for each in reached)


def test_a_mistake_behind_more_is_unfolded(questions: StartDialog, qtbot: QtBot) -> None:
    seed = questions.fields["training_params.seed"]
    seed.set_value("many")
    qtbot.mouseClick(questions.start, LEFT)
    assert seed.isVisibleTo(questions)
    assert questions.focusWidget() is seed.control


def test_a_size_is_chosen_with_the_strategy_that_suits(
    questions: StartDialog, started: list[tuple[SwarmSpec, bool]], qtbot: QtBot
) -> None:
    size = questions.sizes
    assert size.buttons["small"].isChecked()
    averaged(questions)
    assert "10.8 M parameters · about 7 hours · as recommended below" in size.words["small"].text()
    for key, words in (("gpt2", "85.3 M parameters · about"), ("large", "309 M parameters")):
        assert words in size.words[key].text()
        assert size.buttons[key].accessibleDescription() == size.words[key].text()
    assert "a usual GPU" in size.note.text()
    qtbot.mouseClick(size.buttons["gpt2"], LEFT)
    assert questions.advice.title.text().startswith("As recommended")
    assert "recommended" not in size.words["gpt2"].text()
    qtbot.mouseClick(questions.start, LEFT)
    ((swarm, _train),) = started
    assert swarm.model.fields["num_hidden_layers"] == 12
    assert swarm.training.sequence_length == 1024
    assert swarm.training.local_steps is not None


def test_times_follow_machines_and_device(
    bench: Bench, questions: StartDialog, qtbot: QtBot
) -> None:
    large = questions.sizes.words["large"]
    assert "about 16 hours" in large.text()
    questions.line.peers.set_value("16")
    qtbot.waitUntil(lambda: "about 8 hours" in large.text())
    assert "for 16 machines" in questions.sizes.note.text()
    questions.line.peers.set_value("many")
    qtbot.waitUntil(lambda: large.text() == "309 M parameters")
    questions.line.peers.set_value("8")
    qtbot.waitUntil(lambda: "about 16 hours" in large.text())
    bench.dispatch(Devices(devices=(CPU,), torch_version=""), DeviceChosen(device="cpu"))
    qtbot.waitUntil(lambda: "more than 100 days" in large.text())
    assert "a usual CPU" in questions.sizes.note.text()


def test_return_in_the_number_of_machines_starts_nothing(
    questions: StartDialog, started: list[tuple[SwarmSpec, bool]]
) -> None:
    QTest.keyClick(questions.line.peers.control, Qt.Key.Key_Return)
    assert started == []
    QTest.keyClick(questions.title.control, Qt.Key.Key_Return)
    assert len(started) == 1


def test_without_a_device_no_time_is_made_up(bench: Bench) -> None:
    bench.window.dialogs.start()
    dialog = bench.window.dialogs._shown["start"]
    assert isinstance(dialog, StartDialog)
    assert dialog.sizes.words["large"].text() == "309 M parameters"
    assert "once this machine's devices are known" in dialog.sizes.note.text()


def test_own_sizes_are_shown_and_left_again(questions: StartDialog, qtbot: QtBot) -> None:
    size, layers = questions.sizes, questions.fields["model_config.layers"]
    assert not size.buttons[""].isEnabled()
    layers.set_value("7")
    qtbot.waitUntil(size.buttons[""].isChecked)
    assert "12.6 M parameters" in size.words[""].text()
    size.buttons[""].setFocus()
    QTest.keyClick(size.buttons[""], Qt.Key.Key_Up)
    assert size.buttons["large"].isChecked()
    assert layers.value == "24"
    assert not size.buttons[""].isEnabled()


def test_choosing_sizes_to_and_fro_keeps_the_length_of_the_run(
    questions: StartDialog, qtbot: QtBot
) -> None:
    averaged(questions)
    questions.fields["training_params.stop.epochs"].set_value("60000")
    for key in ("gpt2", "large", "small", "gpt2"):
        qtbot.mouseClick(questions.sizes.buttons[key], LEFT)
    values = questions.values
    batch = int(values["training_params.target_batch_size"])
    samples = batch * int(values["training_params.stop.epochs"])
    assert samples == pytest.approx(60_000 * 1024, rel=0.01)


def test_what_it_is_for_goes_into_the_invite(
    questions: StartDialog, started: list[tuple[SwarmSpec, bool]], qtbot: QtBot
) -> None:
    until = questions.fields["about.until"]
    until.set_value("soon")
    questions.fields["about.purpose"].set_value(" Old letters ")
    qtbot.mouseClick(questions.start, LEFT)
    assert "2027-03-31" in until.error.text()
    until.set_value("2027-03-31")
    qtbot.mouseClick(questions.start, LEFT)
    about = started[0][0].about
    assert about is not None
    assert about.as_json() == {"purpose": "Old letters", "until": "2027-03-31"}


# --- a strategy for model and line ---------------------------------------------------------------


def averaged(form: StartDialog) -> None:
    """As a user who wants each gradient averaged sets it."""
    for name, value in {"strategy": "gradient-averaging", "target_batch_size": "1024"}.items():
        form.fields[f"training_params.{name}"].set_value(value)
    form._check()


HUGE = {"layers": "24", "width": "2048", "heads": "16", "feed_forward": "8192"}


def test_recommended_strategy_is_taken_over_with_a_click(
    form: StartDialog, started: list[tuple[SwarmSpec, bool]], qtbot: QtBot
) -> None:
    for name, value in HUGE.items():
        form.fields[f"model_config.{name}"].set_value(value)
    averaged(form)
    form.fields["training_params.stop.epochs"].set_value("60000")
    qtbot.waitUntil(lambda: "SparseLoCo" in form.advice.title.text())
    assert "would compute only" in form.advice.why.text()
    qtbot.mouseClick(form.advice.take, LEFT)
    values = form.values
    assert values["training_params.strategy"] == "sparseloco"
    assert values["training_params.sparseloco.local_batch_size"] == "128"
    batch = int(values["training_params.target_batch_size"])
    assert batch % 1024 == 0
    assert values["training_params.stop.epochs"] == str(round(60_000 * 1024 / batch))
    assert form.advice.title.text().startswith("As recommended")
    assert not form.advice.take.isVisible()
    qtbot.mouseClick(form.start, LEFT)
    assert started[0][0].training.sparseloco is not None


def test_recommendation_follows_line_and_machines(form: StartDialog, qtbot: QtBot) -> None:
    form.line.peers.set_value("1")
    qtbot.waitUntil(lambda: "Average each gradient" in form.advice.title.text())
    form.line.peers.set_value("many")
    qtbot.waitUntil(lambda: not form.advice.isVisible())
    form.line.peers.set_value("8")
    qtbot.waitUntil(form.advice.isVisible)
    form.line.uplink.set_value("0.01")
    qtbot.waitUntil(lambda: "SparseLoCo" in form.advice.title.text())


def test_the_strategy_follows_the_recommendation_until_it_is_changed(
    form: StartDialog, qtbot: QtBot
) -> None:
    strategy = form.fields["training_params.strategy"]
    warmup = form.fields["training_params.schedule.warmup_epochs"]
    for peers, found in (("1", "gradient-averaging"), ("8", "sparseloco")) * 3:
        form.line.peers.set_value(peers)
        qtbot.waitUntil(lambda found=found: strategy.value == found)
    form.line.peers.set_value("1")
    qtbot.waitUntil(lambda: strategy.value == "gradient-averaging")
    assert warmup.value == "20"  # as at first, however often it was converted
    warmup.control.setFocus()
    QTest.keyClicks(warmup.control, "0")
    form.line.peers.set_value("8")
    qtbot.waitUntil(lambda: form.advice.title.text().startswith("Recommended"))
    assert (strategy.value, warmup.value) == ("gradient-averaging", "200")
    qtbot.mouseClick(form.advice.take, LEFT)
    assert strategy.value == "sparseloco"


def test_nothing_is_recommended_for_a_wrong_form(form: StartDialog, qtbot: QtBot) -> None:
    form.fields["model_config.heads"].set_value("5")
    qtbot.waitUntil(lambda: not form.advice.isVisible())
    assert form.line.value("computing") == "–"


def test_fields_are_those_of_the_strategy(form: StartDialog) -> None:
    name = "training_params.max_grad_norm"
    averaged(form)
    form.fields[name].set_value("0.5")
    assert form._check()[0].training.max_grad_norm == 0.5  # type: ignore[union-attr]
    form.fields["training_params.strategy"].set_value("diloco")
    assert not form.fields[name].relevant
    assert form.fields["training_params.diloco.max_grad_norm"].relevant
    spec_found, wrong = form._check()
    assert wrong == {}
    assert spec_found is not None
    assert spec_found.training.max_grad_norm is None


def test_ways_to_the_form(bench: Bench, qtbot: QtBot) -> None:
    qtbot.mouseClick(bench.window.overview.welcome.start, LEFT)
    assert "start" in bench.window.dialogs._shown
    bench.window.dialogs._shown["start"].reject()
    QTest.keyClick(bench.window, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
    assert "start" in bench.window.dialogs._shown


def test_run_id_follows_the_title_until_it_is_ones_own(form: StartDialog) -> None:
    form.fields["title"].set_value("My poems")
    assert form.values["run_id"].startswith("my-poems-")
    form.fields["run_id"].set_value("mine")
    form.fields["title"].set_value("Other")
    assert form.values["run_id"] == "mine"


def test_right_form_starts_a_swarm_of_ones_own(
    bench: Bench, form: StartDialog, started: list[tuple[SwarmSpec, bool]], qtbot: QtBot
) -> None:
    form.fields["title"].set_value("My poems")
    qtbot.mouseClick(form.start, LEFT)
    (found, train), *_ = started
    assert train
    assert found.title == "My poems"
    assert found.initial_peers == ()
    calls = [f"join {found.run_id}", "start"]
    qtbot.waitUntil(lambda: bench.session.calls == calls)
    assert "start" not in bench.window.dialogs._shown


def test_it_trains_at_once_only_if_wanted(
    form: StartDialog, started: list[tuple[SwarmSpec, bool]], qtbot: QtBot
) -> None:
    form.train.setChecked(False)
    qtbot.mouseClick(form.start, LEFT)
    assert [train for _spec, train in started] == [False]


def test_mistakes_are_shown_at_their_fields(
    bench: Bench, form: StartDialog, started: list[tuple[SwarmSpec, bool]], qtbot: QtBot
) -> None:
    heads, batch = (
        form.fields[name] for name in ("model_config.heads", "training_params.target_batch_size")
    )
    heads.set_value("5")
    batch.set_value("many")
    assert not heads.error.isVisible()  # nobody is told off before they have tried
    qtbot.mouseClick(form.start, LEFT)
    assert started == []
    assert "evenly" in heads.error.text()
    assert batch.error.isVisible()
    assert heads.control.accessibleDescription() == heads.error.text()
    assert form.focusWidget() is heads.control
    assert "2 values are wrong" in form.summary.text()
    heads.set_value("6")
    qtbot.waitUntil(lambda: not heads.error.isVisible())
    assert batch.error.isVisible()
    batch.set_value("512")
    qtbot.waitUntil(lambda: "parameters" in form.summary.text())
    qtbot.mouseClick(form.start, LEFT)
    assert len(started) == 1


def test_wrong_field_is_scrolled_into_view(form: StartDialog, qtbot: QtBot) -> None:
    last = form.fields["training_params.stop.minutes"]
    last.set_value("soon")
    qtbot.mouseClick(form.start, LEFT)
    qtbot.waitUntil(lambda: not last.control.visibleRegion().isEmpty())


@pytest.mark.parametrize("source", ["builtin", "files", "https", "hub"])
def test_fields_are_those_of_the_source(form: StartDialog, source: str) -> None:
    form.fields["dataset_info.source"].set_value(source)
    shown = {
        name.removeprefix("dataset_info.")
        for name, field in form.fields.items()
        if name.startswith("dataset_info.") and field.isVisibleTo(form)
    }
    assert shown == {"source", "tokenizer.kind", *names.SOURCE_FIELDS[source]}


@pytest.mark.parametrize("source", names.PRETRAINED_FIELDS)
def test_fields_of_the_model_are_those_of_what_it_begins_with(
    form: StartDialog, source: str
) -> None:
    form.fields["pretrained.source"].set_value(source)
    form.fields["training_params.adapters.train"].set_value("adapters")
    shown = {name for name, field in form.fields.items() if field.relevant}
    expected = {f"pretrained.{name}" for name in ("source", *names.PRETRAINED_FIELDS[source])}
    assert {name for name in shown if name.startswith("pretrained.")} == expected
    assert ("model_config.layers" in shown) == (source == "")
    assert ("training_params.adapters.rank" in shown) == (source != "")


def test_form_is_reached_by_keyboard_in_order(form: StartDialog) -> None:
    reached: list[QWidget] = []
    widget = form.fields["title"].control.nextInFocusChain()
    while widget is not form.fields["title"].control:
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisibleTo(form):
            reached.append(widget)
        widget = widget.nextInFocusChain()
    controls = [each.control for each in form.fields.values() if each.isVisibleTo(form)]
    assert [each for each in reached if each in controls] == controls[1:]
    assert form.start in reached


# --- evaluation, several sources, rare fields


@pytest.mark.parametrize("text", names.HELD_OUT_FIELDS)
def test_fields_are_those_of_what_is_evaluated(form: StartDialog, text: str) -> None:
    form.fields["evaluation.text"].set_value(text)
    shown = {
        name.rpartition(".")[2]
        for name, field in form.fields.items()
        if "held_out" in name and field.isVisibleTo(form)
    }
    assert shown == set(names.HELD_OUT_FIELDS[text])
    where = "training_params.evaluation"
    assert form.fields[f"{where}.share"].isVisibleTo(form) == (text == "share")
    for name in (f"{where}.prompts", "training_params.stop.unimproved_evaluations"):
        assert form.fields[name].isVisibleTo(form) == (text != "never")


def test_rare_fields_are_folded_until_one_is_wrong(form: StartDialog, qtbot: QtBot) -> None:
    seed = form.fields["training_params.seed"]
    assert not seed.isVisibleTo(form)
    assert form.values["training_params.seed"] == "0"
    seed.set_value("many")
    qtbot.mouseClick(form.start, LEFT)
    assert seed.isVisibleTo(form)
    assert form.focusWidget() is seed.control


def mixed(form: StartDialog) -> None:
    form.fields["dataset_info.source"].set_value("mixture")


def test_a_mixture_is_started_as_the_form_says(
    form: StartDialog, started: list[tuple[SwarmSpec, bool]], qtbot: QtBot
) -> None:
    mixed(form)
    assert form.mixture.isVisibleTo(form)
    rows = form.mixture.rows
    rows[1].fields["data.name"].set_value("us/words")
    rows[1].fields["weight"].set_value("3")
    titles = [row.title.text() for row in rows]
    assert titles == [f"Source {n}: {p}\u00a0% of the samples" for n, p in ((1, 25), (2, 75))]
    qtbot.mouseClick(form.start, LEFT)
    ((swarm, _train),) = started
    assert swarm.data.source == "mixture"
    assert [part.weight for part in swarm.data.parts] == [1, 3]
    assert [part.data.source for part in swarm.data.parts] == ["builtin", "hub"]


def test_rows_of_a_mixture_come_and_go(form: StartDialog, qtbot: QtBot) -> None:
    mixed(form)
    mixture = form.mixture
    assert not any(row.remove.isEnabled() for row in mixture.rows)
    assert "at least" in mixture.rows[0].remove.toolTip()
    mixture.add.setFocus()
    QTest.keyClick(mixture.add, Qt.Key.Key_Space)
    assert form.focusWidget() is mixture.rows[2].fields["data.source"].control
    mixture.rows[2].fields["data.source"].set_value("files")
    assert mixture.rows[2].fields["data.paths"].isVisibleTo(form)
    assert not mixture.rows[2].fields["data.name"].isVisibleTo(form)
    gone = mixture.rows[1]
    qtbot.mouseClick(gone.remove, LEFT)
    assert [row.fields["data.source"].value for row in mixture.rows] == ["builtin", "files"]
    assert mixture.rows[1].title.text().startswith("Source 2")
    assert form.focusWidget() is mixture.add
    assert "dataset_info.parts.2.weight" not in form.values
    while mixture.add.isEnabled():
        mixture.add.click()
    assert len(mixture.rows) == 32
    assert "at most" in mixture.add.toolTip()


def test_a_mixtures_mistakes_are_shown_in_its_rows(form: StartDialog, qtbot: QtBot) -> None:
    mixed(form)
    weight = form.mixture.rows[0].fields["weight"]
    weight.set_value("much")
    assert form.mixture.rows[0].title.text() == "Source 1"
    qtbot.mouseClick(form.start, LEFT)
    assert weight.error.text()
    assert form.mixture.rows[1].fields["data.name"].error.text()
    assert form.focusWidget() is weight.control
    form.fields["dataset_info.source"].set_value("builtin")
    qtbot.waitUntil(lambda: "parameters" in form.summary.text())


def test_rows_of_a_mixture_are_reached_by_keyboard_in_order(form: StartDialog) -> None:
    mixed(form)
    form.mixture.add.click()
    reached = [each for each in in_tab_order(form) if form.mixture.isAncestorOf(each)]
    expected: list[QWidget] = []
    for row in form.mixture.rows:
        shown = [each.control for each in row.fields.values() if each.relevant]
        expected += [*shown, row.remove]
    assert reached == [*expected, form.mixture.add]
    assert all(name_of(each) for each in reached)


def test_each_type_of_model_can_be_started(form: StartDialog) -> None:
    kind = form.fields["model_config.model_type"].control
    for index in range(kind.count()):
        kind.setCurrentIndex(index)
        assert form._check()[1] == {}


# --- sharing -------------------------------------------------------------------------------------


def share(bench: Bench, *addresses: str, swarm: SwarmSpec = OURS) -> ShareDialog:
    bench.session.swarm.spec = swarm
    bench.dispatch(*WATCHING, Joined(peer_id=PEER_ID, addresses=addresses))
    bench.window.dialogs.share()
    dialog = bench.window.dialogs._shown["share"]
    assert isinstance(dialog, ShareDialog)
    return dialog


def test_link_leads_into_our_swarm(bench: Bench, qtbot: QtBot) -> None:
    dialog = share(bench, LOOPBACK, NEAR)
    qtbot.mouseClick(dialog.copy, LEFT)
    found = invite.read_text(QGuiApplication.clipboard().text())
    assert (found.run_id, found.initial_peers) == ("poems", (NEAR,))


def test_file_leads_into_our_swarm(bench: Bench, qtbot: QtBot, tmp_path: Path) -> None:
    dialog = share(bench, NEAR)
    bench.model.run(dialog.save_as(tmp_path / "poems.cotrain"))
    qtbot.waitUntil((tmp_path / "poems.cotrain").exists)
    assert invite.load_file(tmp_path / "poems.cotrain").initial_peers == (NEAR,)


def test_a_file_that_cannot_be_written_is_said_in_the_dialog(
    bench: Bench, qtbot: QtBot, tmp_path: Path
) -> None:
    dialog = share(bench, NEAR)
    bench.model.run(dialog.save_as(tmp_path / "missing" / "poems.cotrain"))
    qtbot.waitUntil(dialog.error.isVisible)
    assert "can't be written" in dialog.error.text()
    assert bench.session.store.state.problem is None
    qtbot.waitUntil(lambda: not clipped(dialog))
    bench.model.run(dialog.save_as(tmp_path / "poems.cotrain"))
    qtbot.waitUntil(lambda: dialog.save.text() == "Saved")
    assert dialog.error.isHidden()


@pytest.mark.parametrize(
    ("addresses", "local", "told"),
    [
        ([LOOPBACK], False, "this machine only"),
        ([], False, "no address"),
        ([LOOPBACK, NEAR], False, "your own network"),
        ([NEAR, FAR], False, "as long as this app runs"),
        ([LOOPBACK], True, "Only apps on this machine"),
    ],
)
def test_invite_says_how_far_it_reaches(
    bench: Bench, addresses: list[str], local: bool, told: str
) -> None:
    dialog = share(bench, *addresses, swarm=OURS.model_copy(update={"local": local}))
    assert told in dialog.reach.text()


def test_invite_follows_our_addresses(bench: Bench) -> None:
    dialog = share(bench, LOOPBACK)
    bench.dispatch(Joined(peer_id=PEER_ID, addresses=(FAR,)))
    assert invite.read_text(dialog.link.text()).initial_peers == (FAR,)
    assert "as long as this app runs" in dialog.reach.text()


def test_invite_goes_with_the_swarm(bench: Bench) -> None:
    share(bench, NEAR)
    bench.session.swarm.spec = None
    bench.dispatch(Left())
    assert bench.window.dialogs._shown == {}


def test_there_is_no_invite_outside_a_swarm(bench: Bench) -> None:
    bench.window.dialogs.share()
    assert bench.window.dialogs._shown == {}
    assert not bench.window._menus.share.isEnabled()


def test_started_swarm_shows_its_invite(bench: Bench, qtbot: QtBot) -> None:
    bench.session.swarm.spec = OURS
    bench.dispatch(*WATCHING, Joined(peer_id=PEER_ID, addresses=(NEAR,)))
    bench.actions.join(OURS, share=True)
    qtbot.waitUntil(lambda: "share" in bench.window.dialogs._shown)


def test_qr_code_is_sharp_and_has_its_quiet_zone(bench: Bench) -> None:
    dialog = share(bench, NEAR)
    assert dialog.qr.isVisible()
    picture = dialog.qr.pixmap().toImage().convertToFormat(QImage.Format.Format_RGB32)
    modules = qr.image_of(dialog.link.text())
    scale = picture.width() // modules.width()
    assert picture.width() == scale * modules.width()
    for place in range(0, modules.width(), 7):
        sample = picture.pixelColor(place * scale + scale // 2, 20 * scale + scale // 2)
        assert sample == modules.pixelColor(place, 20)
    border = range(qr.QUIET)
    assert all(modules.pixelColor(x, y).lightness() == 255 for x in border for y in border)
    assert modules.pixelColor(qr.QUIET, qr.QUIET).lightness() == 0


def test_qr_code_is_enlarged_and_saved(bench: Bench, qtbot: QtBot, tmp_path: Path) -> None:
    dialog = share(bench, NEAR)
    qtbot.mouseClick(dialog.enlarge, LEFT)
    assert dialog.large.isVisible()
    assert dialog.large.code.pixmap().width() > dialog.qr.pixmap().width()
    dialog.large.save_as(tmp_path / "poems.png")
    saved = QImage(str(tmp_path / "poems.png"))
    assert saved.width() == 12 * qr.image_of(dialog.link.text()).width()
    dialog.large.save_as(tmp_path / "missing" / "poems.png")
    assert "can't be written" in dialog.large.error.text()
    qtbot.mouseClick(dialog.large.done_button, LEFT)
    assert not dialog.large.isVisible()


def test_link_that_is_too_long_for_a_qr_code_says_so(bench: Bench) -> None:
    unlike = "".join(f"{n * n * 104729:x}" for n in range(240))
    data = {"source": "https", "url": f"https://a.example/{unlike}", "sha256": HASH}
    dialog = share(bench, NEAR, swarm=spec.parse(OURS.to_json() | {"dataset_info": data}))
    assert not dialog.qr.isVisible()
    assert dialog.too_long.isVisible()
    assert invite.read_text(dialog.link.text()).initial_peers[0] == NEAR


def test_dialogs_survive_a_change_of_theme(bench: Bench) -> None:
    share(bench, NEAR)
    bench.theme.choose("light")
    bench.theme.choose("dark")
    QApplication.processEvents()
