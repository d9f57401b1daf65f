"""The machines as a table."""

import csv

import pytest

from app.p2p.machine_records import MachineRecord
from app.swarm.fleet import Fleet
from app.swarm.fleet_table import as_csv
from tests.support.machine.machines import record

NOW = 10_000.0


def fleet_of(*records: MachineRecord) -> Fleet:
    made = Fleet()
    made.take({f"key{place}": told for place, told in enumerate(records)}, NOW)
    return made


def test_csv_has_a_line_for_each_machine() -> None:
    made = fleet_of(record(time=NOW, alias='one, "the" first'), record(time=NOW, loss=None))
    rows = list(csv.DictReader(as_csv(made.machines(NOW)).splitlines()))
    assert [row["machine"] for row in rows] == ['one, "the" first', "lab-01"]
    assert (rows[0]["loss"], rows[1]["loss"]) == ("2.4", "")
    assert (rows[0]["warnings"], rows[0]["public_key"]) == ("", "key0")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", '@SUM("A1")'])
def test_csv_holds_no_formulas(name: str) -> None:
    made = fleet_of(record(time=NOW, alias=name))
    (row,) = csv.DictReader(as_csv(made.machines(NOW)).splitlines())
    assert row["machine"] == f"'{name}"
