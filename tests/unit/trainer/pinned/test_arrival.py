"""How far a download is, as it is told to the app."""

import threading
import time

import pytest

from app.protocol import FileDownload
from app.trainer.pinned import arrival as arrivals
from app.trainer.pinned.arrival import Arrival


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_files_count_together_and_say_what_is_left(clock: list[float]) -> None:
    told: list[FileDownload] = []
    arrival = Arrival("weights", told.append, files=2, size=1000)
    arrival.arrived(100)
    clock[0] += 2
    arrival.arrived(200)
    assert told[-1] == FileDownload(what="weights", received=200, size=1000, seconds_left=16.0)
    arrival.end_file(400)
    clock[0] += 2
    arrival.arrived(300)
    assert told[-1].received == 700
    arrival.end_file(600)
    arrival.end()
    assert told[-1] == FileDownload(what="weights", received=1000, size=1000, seconds_left=0.0)


def test_it_is_told_now_and_then(clock: list[float]) -> None:
    told: list[FileDownload] = []
    arrival = Arrival("data", told.append)
    for received in range(100):
        arrival.arrived(received)
        clock[0] += arrivals.REPORT_SECONDS / 10
    assert 9 <= len(told) <= 11


def test_a_file_of_the_cache_is_not_announced() -> None:
    told: list[FileDownload] = []
    arrival = Arrival("tokenizer", told.append)
    arrival.end_file(5)
    arrival.end()
    assert told == []


def test_a_size_is_the_servers_only_for_the_last_file(clock: list[float]) -> None:
    told: list[FileDownload] = []
    arrival = Arrival("weights", told.append, files=2)
    arrival.arrived(1, whole=10)
    arrival.end_file(10)
    clock[0] += 1
    arrival.arrived(1, whole=90)
    assert [each.size for each in told] == [None, 100]
    assert all(each.seconds_left is None for each in told)  # too early to say


def test_a_larger_file_than_announced_has_no_time_below_zero(clock: list[float]) -> None:
    told: list[FileDownload] = []
    arrival = Arrival("data", told.append, size=10)
    arrival.arrived(0)
    clock[0] += 2
    arrival.arrived(50)
    assert told[-1].seconds_left == 0.0


def test_a_download_that_begins_anew_has_no_time_below_zero(clock: list[float]) -> None:
    told: list[FileDownload] = []
    arrival = Arrival("data", told.append, size=1000)
    arrival.arrived(900)
    clock[0] += 2
    arrival.arrived(10)
    assert told[-1].seconds_left is None


def test_nobody_listens() -> None:
    arrival = Arrival("data")
    arrival.arrived(1)
    with arrival.watching(lambda: 1 // 0):
        pass
    arrival.end()


def test_a_thread_looks_until_the_block_ends() -> None:
    looked = threading.Event()
    told: list[FileDownload] = []

    def look() -> int:
        looked.set()
        return 3

    with Arrival("data", told.append).watching(look):
        assert looked.wait(30)
    assert told[-1].received == 3
    assert "arrival" not in {thread.name for thread in threading.enumerate()}
