"""Exports: everything is in them, and nothing in them can be changed unnoticed."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import ExportError
from app.common.signing import MachineKey, as_text, canonical
from app.contributions.export import check, verify_files, write
from app.contributions.ledger import Ledger
from tests.support.training.works import contribution

ROOT = Path(__file__).resolve().parents[3]
Document = dict[str, Any]


@pytest.fixture
def key(tmp_path: Path) -> MachineKey:
    return MachineKey.load_or_create(tmp_path / "machine.pem")


@pytest.fixture
def ledger_file(tmp_path: Path, key: MachineKey) -> Path:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(path)
    for number in (1, 2, 3):
        ledger.add(contribution(number, energy=None if number == 2 else 1.5).signed(key))
    ledger.outbox.refuse(contribution(3).id, 0.0, 'no "such" session,\nit said')
    ledger.close()
    return path


@pytest.fixture
def exported(tmp_path: Path, ledger_file: Path, key: MachineKey) -> Path:
    path = tmp_path / "contributions.json"
    assert write(path, ledger_file=ledger_file, key=key) == 3
    return path


# --- CSV -----------------------------------------------------------------------------------------


def test_csv_holds_a_line_each(tmp_path: Path, ledger_file: Path, key: MachineKey) -> None:
    path = tmp_path / "contributions.CSV"
    assert write(path, ledger_file=ledger_file, key=key) == 3
    lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert [line["id"] for line in lines] == [contribution(number).id for number in (1, 2, 3)]
    assert lines[0]["started_at"] == "2026-11-24T12:01:00.000+00:00"
    assert [line["energy"] for line in lines] == ["1.5", "", "1.5"]
    assert (lines[2]["state"], lines[2]["remark"]) == ("refused", 'no "such" session,\nit said')
    assert float(lines[0]["compute_time"]) == contribution().compute_time


def test_export_that_cannot_be_written_is_named(
    tmp_path: Path, ledger_file: Path, key: MachineKey
) -> None:
    path = tmp_path / "none" / "a.csv"
    with pytest.raises(ExportError, match="can't be written") as caught:
        write(path, ledger_file=ledger_file, key=key)
    assert caught.value.field == str(path)


# --- signed JSON ---------------------------------------------------------------------------------


def test_what_was_exported_is_valid(exported: Path, key: MachineKey) -> None:
    document = check(exported.read_bytes())
    assert document["publicKey"] == key.public_key
    assert [item["state"] for item in document["contributions"]] == [
        "waiting",
        "waiting",
        "refused",
    ]


def test_document_may_be_formatted_anew(exported: Path) -> None:
    document = json.loads(exported.read_bytes())
    check(json.dumps(document, sort_keys=True).encode())


def test_empty_export_is_valid(tmp_path: Path, key: MachineKey) -> None:
    path = tmp_path / "empty.json"
    assert write(path, ledger_file=tmp_path / "new.sqlite", key=key) == 0
    assert check(path.read_bytes())["contributions"] == []


def change(name: str, value: object) -> Callable[[Document], None]:
    def spoil(document: Document) -> None:
        document["contributions"][1][name] = value

    return spoil


def again(document: Document) -> None:
    document["contributions"].append(document["contributions"][0])


def sign(document: Document, key: MachineKey) -> None:
    document.pop("signature")
    document["signature"] = as_text(key.sign(canonical(document)))


ITEM = {
    "a number": change("computeTime", 4112.5),
    "the session": change("sessionId", 8),
    "the time": change("endedAt", "2026-11-25T12:03:00.000+00:00"),
    "an addition": change("bonus", 1),
    "the signature": change("signature", "AAAA"),
    "no signature": change("signature", None),
    "the key": change("publicKey", "A" * 43 + "="),
    "another type": change("samples", [1]),
    "not finite": change("samples", float("nan")),
    "too large": change("samples", 10**30),
}


@pytest.mark.parametrize("spoil", ITEM.values(), ids=ITEM)
@pytest.mark.parametrize("resigned", [False, True], ids=["", "document signed again"])
def test_changed_contribution_is_named(
    exported: Path, key: MachineKey, spoil: Callable[[Document], None], resigned: bool
) -> None:
    document = json.loads(exported.read_bytes())
    spoil(document)
    if resigned:
        try:
            sign(document, key)
        except ValueError:
            return  # no signature can be made for it at all
    with pytest.raises(ExportError) as caught:
        check(json.dumps(document).encode())
    assert caught.value.field == "contributions[2]"


DOCUMENT: dict[str, Callable[[Document], object]] = {
    "left out": lambda document: document["contributions"].pop(),
    "moved": lambda document: document["contributions"].reverse(),
    "another date": lambda document: document.update(createdAt="2020-01-01T00:00:00.000+00:00"),
    "another state": change("state", "confirmed"),
    "no signature": lambda document: document.pop("signature"),
}


@pytest.mark.parametrize("spoil", DOCUMENT.values(), ids=DOCUMENT)
def test_changed_document_is_noticed(exported: Path, spoil: Callable[[Document], object]) -> None:
    document = json.loads(exported.read_bytes())
    spoil(document)
    with pytest.raises(ExportError, match="document's signature") as caught:
        check(json.dumps(document).encode())
    assert caught.value.field == "signature"


def test_contribution_counts_once(exported: Path, key: MachineKey) -> None:
    document = json.loads(exported.read_bytes())
    again(document)
    sign(document, key)
    with pytest.raises(ExportError, match="twice") as caught:
        check(json.dumps(document).encode())
    assert caught.value.field == "contributions[4]"


def test_name_that_stands_twice_is_refused(exported: Path) -> None:
    raw = exported.read_bytes().replace(b'"samples": 790', b'"samples": 9999, "samples": 790', 1)
    with pytest.raises(ExportError, match="twice in an object"):
        check(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"[" * 100_000,
        b'{"format": "cotrain-contributions/2"}',
        b'{"format": "cotrain-contributions/1"}',
        b'{"format": "cotrain-contributions/1", "contributions": []}',
        b'{"format": "cotrain-contributions/1", "contributions": [1], "publicKey": ""}',
        b'{"format": "cotrain-contributions/1", "contributions": [{}], "publicKey": ""}',
        b'{"format": "cotrain-contributions/1", "contributions": [], "publicKey": ""}',
    ],
)
def test_what_is_no_export_is_refused(raw: bytes) -> None:
    with pytest.raises(ExportError):
        check(raw)


# --- on the command line -------------------------------------------------------------------------


def test_each_file_gets_its_verdict(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "changed.json"
    changed.write_bytes(exported.read_bytes().replace(b"41.125", b"4112.5", 1))
    missing = tmp_path / "missing.json"
    assert verify_files([exported]) == 0
    assert verify_files([exported, changed, missing]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[1]
    assert lines[1].startswith(f"{exported}: valid: 3 contributions")
    assert f"{changed}: NOT VALID: contributions[1]" in lines[2]
    assert contribution(1).id in lines[2]
    assert lines[3].startswith(f"{missing}: can't be read")


@pytest.mark.parametrize("spoilt", [False, True])
def test_program_verifies(exported: Path, spoilt: bool) -> None:
    if spoilt:
        exported.write_bytes(exported.read_bytes().replace(b"41.125", b"4112.5"))
    result = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "verify", str(exported)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (int(spoilt), "")
    assert ("NOT VALID" in result.stdout) is spoilt
