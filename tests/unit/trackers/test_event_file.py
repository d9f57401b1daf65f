"""The real TensorBoard reads what we write."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from app.trackers.event_file import EventFile
from app.trackers.point import TrackedPoint, TrackedText

pytestmark = pytest.mark.usefixtures("tensorboardx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def point(step: int, **values: float) -> TrackedPoint:
    return TrackedPoint(time=1000.5 + step, step=step, values=values)


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_reads_it_back(folder: Path) -> None:
    file = EventFile(folder)
    for step in (1, 5):
        file.add(point(step, loss=4.5 / step, rate=80.0))
    found = read(folder)  # while it is open
    assert found.file_version == 2
    assert found.Tags()["scalars"] == ["loss", "rate"]
    assert [(event.wall_time, event.step) for event in found.Scalars("loss")] == [
        (1001.5, 1),
        (1005.5, 5),
    ]
    assert [event.value for event in found.Scalars("loss")] == pytest.approx([4.5, 0.9])
    file.close()


def test_tensorboard_reads_what_the_model_wrote(folder: Path) -> None:
    file = EventFile(folder)
    text = TrackedText(name="samples/Once", step=200, text="Once <b>upon</b>\n\n# a time «»")
    file.add(replace(point(1, loss=2.0), texts=(text,)))
    file.close()
    found = read(folder)
    (name,) = found.Tags()["tensors"]
    assert name.startswith("samples/Once")
    (event,) = found.Tensors(name)
    (shown,) = event.tensor_proto.string_val
    assert event.step == 200
    assert shown.decode() == "    Once <b>upon</b>\n    \n    # a time «»"


def test_a_restart_continues_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in (1000, 2000):
        monkeypatch.setattr(time, "time", lambda start=start: start + 0.5)
        file = EventFile(folder)
        file.add(point(start, loss=1.0))
        file.close()
    assert len(list(folder.iterdir())) == 2
    assert [event.step for event in read(folder).Scalars("loss")] == [1000, 2000]


def test_a_file_that_was_cut_off_is_read_up_to_there(folder: Path) -> None:
    file = EventFile(folder)
    for step in range(3):
        file.add(point(step, loss=1.0))
    file.close()
    (path,) = folder.iterdir()
    os.truncate(path, path.stat().st_size - 3)
    assert [event.step for event in read(folder).Scalars("loss")] == [0, 1]


def test_names_of_this_machine_are_not_in_it(folder: Path) -> None:
    file = EventFile(folder)
    file.close()
    (path,) = folder.iterdir()
    host = os.uname().nodename
    assert host not in path.name
    assert host.encode() not in path.read_bytes()


def test_only_its_owner_may_read_the_folder(folder: Path) -> None:
    EventFile(folder).close()
    assert (folder).stat().st_mode & 0o777 == 0o700


def test_a_day_takes_some_megabytes(folder: Path) -> None:
    file = EventFile(folder)
    names = [f"some_name_of_a_value_{number}/this_machine" for number in range(12)]
    for step in range(20):
        file.add(point(step, **dict.fromkeys(names, 1.0)))
    file.close()
    (path,) = folder.iterdir()
    assert path.stat().st_size / 20 * 8640 < 7e6  # one point each ten seconds
