"""The devices page: figures, the choice of devices, and why a device can't train."""

import math

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app import protocol
from app.machine.hardware import Cpu, Gpu, Reading
from app.machine.question import Question
from app.spec import schema as spec
from app.state.events import DeviceChosen, PartsChanged
from app.state.facts import TrainerPart
from tests.support.gui.windows import CPU, DEVICES, GPU, TRAINING, Bench
from tests.support.training.specs import SMALLEST
from ui.pages.devices.card import DeviceCard
from ui.pages.devices.page import DevicesPage

pytestmark = pytest.mark.gui

HOT = Gpu(
    index=0,
    uuid="GPU-1",
    name="RTX 4070",
    driver="550.54",
    cuda="12.4",
    use=0.97,
    others_use=0.12,
    memory=12 * 2**30,
    memory_used=6 * 2**30,
    others_memory=2**30,
    temperature=88.0,
    power=162.0,
    power_limit=200.0,
    clock=2475.0,
    max_clock=2520.0,
)
IDLE = Gpu(index=1, uuid="GPU-2", name="RTX 3060", memory=8 * 2**30, cuda="12.4")
READING = Reading(cpu=Cpu(use=0.2, memory=32 * 2**30, memory_used=8 * 2**30), gpus=(HOT, IDLE))
PROBED = protocol.Devices(
    devices=(GPU, protocol.Device(id="cuda:1", name=IDLE.name, memory=8 * 2**30), CPU),
    torch_version="2.10",
    cuda="12.6",
)


@pytest.fixture
def page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> DevicesPage:
    # the page shows the newest reading again at any time: at a new state, or when a thread has read
    monkeypatch.setattr(bench.session.devices, "newest", READING)
    monkeypatch.setattr(bench.session.devices, "_hardware", Question(lambda: READING))
    bench.dispatch(PROBED, DeviceChosen(device="cuda:0"))
    bench.open("Devices")
    found = bench.window.devices.widget
    read(found, READING)
    return found


def read(page: DevicesPage, reading: Reading) -> None:
    """The hardware was read; the page shows this once more with each change of the state, of which
    the window's model tells when it finds time."""
    page._watch.newest = reading
    page.show_reading(reading)


def figures(card: DeviceCard) -> dict[str, tuple[str, str]]:
    return {name: (gauge.value.full, gauge.note.full) for name, gauge in card.gauges.items()}


def test_a_busy_gpu(page: DevicesPage) -> None:
    card = page.cards[0]
    assert (card.check.text(), card.details.full) == (GPU.name, "cuda:0 · 12 GiB · driver 550.54")
    assert card.badge.full == "Recommended: of the GPUs it has the most free memory"
    assert figures(card) == {
        "use": ("97\u00a0%", "12\u00a0% by other programs"),
        "memory": ("6 of 12 GiB", "1 GiB by other programs"),
        "temperature": ("88 °C", "hot"),
        "power": ("162 W", "of 200 W"),
        "clock": ("2.48 GHz", "of 2.52 GHz"),
    }
    assert not card.problem.isVisible()


def test_what_is_not_known_is_not_shown_as_nothing(page: DevicesPage) -> None:
    cpu = page.cards[2]
    assert cpu.details.full == "processor · 32 GiB"
    assert figures(cpu)["temperature"] == ("–", "")
    assert not cpu.gauges["power"].bar.isVisible()
    assert cpu.gauges["memory"].bar.value() == 250


def test_curves_go_on(page: DevicesPage) -> None:
    read(page, READING)
    curve = page.cards[0].gauges["use"].curve
    assert curve is not None
    assert list(curve._values)[-2:] == [0.97, 0.97]
    assert not curve.grab().isNull()


def test_curves_hold_what_was_read_in_the_last_minute_only(
    bench: Bench, page: DevicesPage, qtbot: QtBot
) -> None:
    curve = page.cards[0].gauges["use"].curve
    assert curve is not None
    before = list(curve._values)
    page.cards[1].check.click()
    bench.dispatch(DeviceChosen(device="cuda:0"))
    assert list(curve._values) == before  # nothing was read
    bench.open("Overview")
    page._watch._listeners.clear()
    bench.open("Devices")
    assert len(curve._values) == len(before)
    assert all(map(math.isnan, curve._values))


def checked(page: DevicesPage) -> list[bool]:
    return [card.check.isChecked() for card in page.cards]


def test_several_gpus_are_chosen_by_their_boxes(
    bench: Bench, page: DevicesPage, qtbot: QtBot
) -> None:
    first, second, cpu = (card.check for card in page.cards)
    assert checked(page) == [True, False, False]
    qtbot.mouseClick(second, Qt.MouseButton.LeftButton, pos=second.rect().center())
    assert bench.session.store.state.chosen_devices == ("cuda:0", "cuda:1")
    assert page.note.text().startswith("The next training runs on all chosen devices")
    first.click()
    assert bench.session.store.state.chosen_devices == ("cuda:1",)
    second.click()  # one must be
    assert checked(page) == [False, True, False]
    cpu.click()  # serves the GPUs when they train
    assert checked(page) == [False, False, True]
    first.click()
    assert checked(page) == [True, False, False]


def test_several_are_shown_on_the_overview(bench: Bench, page: DevicesPage) -> None:
    page.cards[1].check.click()
    bench.open("Overview")
    box = bench.window.overview.headline.device
    assert (box.currentText(), box.count()) == ("2 devices", 4)
    box.activated.emit(0)
    assert bench.session.store.state.chosen_devices == ("cuda:0", "cuda:1")
    box.activated.emit(3)
    assert bench.session.store.state.chosen_devices == ("cpu",)


def test_none_is_chosen_while_one_trains(bench: Bench, page: DevicesPage) -> None:
    bench.dispatch(*TRAINING)
    assert not any(card.check.isEnabled() for card in page.cards)
    assert page.cards[0].check.toolTip() == "Stop training to choose another device."
    assert page.note.text().startswith("Training is under way")


def test_gpu_that_cannot_train_says_why(bench: Bench, page: DevicesPage) -> None:
    bench.dispatch(protocol.Devices(devices=(CPU,), torch_version="2.10+cpu"))
    read(page, READING)
    assert [card.check.isEnabled() for card in page.cards] == [True, False, False]
    card = page.cards[1]
    assert card.problem.text.text() == (
        "PyTorch 2.10+cpu is installed in a build without CUDA."
        " Install the build for CUDA 12.4 or older, as pytorch.org/get-started shows."
    )
    assert not card._gauges.isVisible()
    assert page.notice.isVisible()
    assert "is shown below" in page.notice.text.text()


def test_no_gpu_at_all_says_how_to_get_one_going(bench: Bench, page: DevicesPage) -> None:
    bench.dispatch(protocol.Devices(devices=(CPU,), torch_version="2.10+cpu"))
    read(page, Reading())
    assert len(page.cards) == 1
    assert page.cards[0].badge.full == "Recommended: no GPU can be used"
    assert "install its maker's driver" in page.notice.text.text()


def test_devices_are_looked_for_until_they_are_known(bench: Bench) -> None:
    bench.open("Devices")
    page = bench.window.devices.widget
    assert page.empty.isVisible()
    assert page.empty.title.text() == "Looking for devices…"
    bench.dispatch(*DEVICES)
    assert not page.empty.isVisible()
    assert len(page.cards) >= 2


def test_memory_for_the_swarm(bench: Bench, page: DevicesPage) -> None:
    assert not page.cards[0].told.isVisible()
    bench.session.swarm.spec = spec.parse({**SMALLEST, "title": "Poems"})
    page.show_reading(READING)
    assert page.cards[0].told.text().startswith("Memory for Poems: about ")
    assert page.cards[0].told.text().endswith("of 12 GiB, fits")
    large = {"model_type": "llama", "hidden_size": 8192, "num_attention_heads": 64}
    bench.session.swarm.spec = spec.parse({**SMALLEST, "model_config": large})
    page.show_reading(READING)
    assert page.cards[1].told.text().endswith("of 8 GiB, doesn't fit")


def test_a_model_that_makes_no_sense_is_said_in_words(bench: Bench, page: DevicesPage) -> None:
    wrong = {"model_type": "gpt2", "n_layer": "x"}
    bench.session.swarm.spec = spec.parse({**SMALLEST, "model_config": wrong})
    page.show_reading(READING)
    said = page.cards[0].told.text()
    assert said.startswith("The model's n_layer is 'x', which is no size. Give")


def test_what_its_trainer_does(bench: Bench, page: DevicesPage) -> None:
    part = TrainerPart(device="cuda:0", samples_per_second=81.0, micro_batch_size=16)
    bench.dispatch(*TRAINING, PartsChanged(parts=(part, TrainerPart(device="cuda:1"))))
    page.show_reading(READING)
    assert page.cards[0].told.text() == "Training: 81 samples/s, 16 samples a step"
    assert page.cards[1].told.text() == ""


def test_hardware_is_read_only_while_someone_looks(bench: Bench, page: DevicesPage) -> None:
    watch = bench.session.devices
    assert watch._listeners == [page.show_reading]
    bench.open("Overview")
    assert watch._listeners == []


def test_looking_again_asks_torch(bench: Bench, page: DevicesPage, qtbot: QtBot) -> None:
    asked: list[str] = []

    async def look() -> None:
        asked.append("look")

    bench.session.look_for_devices = look  # type: ignore[method-assign]
    qtbot.mouseClick(page.again, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: asked == ["look"])
