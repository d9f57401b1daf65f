"""Rows of tables: sorted, filtered, cut; plain texts of others."""

import time

import pytest

from app.callback.page.tables import (
    MOST_LOG_LINES,
    Excerpt,
    log_rows,
    machine_table,
    peer_table,
)
from app.common.logs import LogLine
from app.p2p.sightings import PeerInfo
from app.state.history import SeenPeers
from app.swarm.fleet import Fleet
from tests.support.machine.machines import crowd, record

ALL = Excerpt(descending=False, text="", offset=0, limit=100)


def test_thousands_of_machines_are_one_short_answer() -> None:
    fleet, now = Fleet(), time.time()
    fleet.take(crowd(5000, now=now), now)
    machines = fleet.machines(now)
    excerpt = Excerpt(descending=True, text="robotics", offset=50, limit=50)
    began = time.process_time()
    table = machine_table(machines, excerpt, sort="loss", own_key="key-00007")
    assert time.process_time() - began < 10  # generous: a busy machine is slower
    assert (table["total"], len(table["rows"])) == (5000, 50)
    assert 1000 < table["matching"] < 1500


def test_this_machine_is_marked_and_texts_are_plain() -> None:
    fleet, now = Fleet(), time.time()
    hostile = record(alias="a\u202eb\x1b[31m\n", last_error="x" * 5000, time=now, state="failed")
    fleet.take({"own": hostile, "other": record(alias="B", loss=None, time=now)}, now)
    table = machine_table(fleet.machines(now), ALL, sort="alias", own_key="own")
    assert [row["here"] for row in table["rows"]] == [True, False]
    assert table["rows"][0]["alias"] == "a\ufffdb\ufffd[31m "
    assert len(table["rows"][0]["last_error"]) == 500
    assert table["rows"][0]["concerns"] == ["failing"]
    nobody = machine_table(fleet.machines(now), ALL, sort="alias", own_key="")
    assert not any(row["here"] for row in nobody["rows"])


@pytest.mark.parametrize("descending", [False, True])
def test_rows_without_a_value_come_last(descending: bool) -> None:
    rows = [{"name": "a", "x": None}, {"name": "b", "x": 1.0}, {"name": "c", "x": 2.0}]
    excerpt = Excerpt(descending=descending, text="", offset=0, limit=9)
    found = excerpt.of(rows, sort="x", searched=["name"])["rows"]
    assert [row["name"] for row in found] == (["c", "b", "a"] if descending else ["b", "c", "a"])


def test_peers_that_have_gone_are_shown_with_when_they_were_seen() -> None:
    seen, now = SeenPeers(), time.time()
    old = PeerInfo(peer_id="old", address="/ip4/10.0.0.1", last_seen=now - 60)
    new = PeerInfo(peer_id="new", address="/ip4/10.0.0.2", last_seen=now)
    seen.add([old], now - 60)
    seen.add([new], now)
    table = peer_table(seen, ALL, sort="last_seen")
    told = [(row["peer_id"], row["connected"], row["last_seen"]) for row in table["rows"]]
    assert told == [("old", False, now - 60), ("new", True, now)]
    found = Excerpt(descending=False, text="0.0.2", offset=0, limit=5)
    assert peer_table(seen, found, sort="peer_id")["matching"] == 1


def test_log_is_ours_bounded_newest_first_and_without_the_home_folder() -> None:
    from pathlib import Path

    lines = [LogLine(float(each), 20, "app", f"line {each}") for each in range(1000)]
    lines.append(
        LogLine(1001.0, 40, "app", f"can't read {Path.home()}/secret.txt\x1b[2J" + "x" * 9999)
    )
    lines.append(LogLine(1002.0, 40, "peer", "of a library", library=True))
    rows = log_rows(lines, level=20, text="")
    assert len(rows) == MOST_LOG_LINES
    assert rows[0]["text"].startswith("can't read ~/secret.txt\ufffd[2J")
    assert len(rows[0]["text"]) <= 2000
    assert rows[1]["text"] == "line 999"
    assert [row["text"] for row in log_rows(lines, level=20, text="LINE 12")][-1] == "line 12"
    assert len(log_rows(lines, level=30, text="")) == 1
