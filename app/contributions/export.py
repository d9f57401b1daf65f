"""Exports contributions as CSV, or as JSON that anyone can check.

The JSON document holds each contribution with its signature, and is signed as a whole. So `check`
notices whatever was changed, left out or added.
"""

import csv
import io
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.common.errors import ExportError
from app.common.i18n import _, ngettext
from app.common.paths import write_atomically
from app.common.plain import cell, one_line
from app.common.signing import MachineKey, as_text, canonical, from_text, verify
from app.contributions.accounting import Contribution, iso
from app.contributions.ledger import Ledger, LedgerEntry

FORMAT = "cotrain-contributions/1"

_UNSIGNED = ("public_key", "signature")


# --- writing


def write(path: Path, *, ledger_file: Path, key: MachineKey) -> int:
    """Write all contributions, the oldest first, and return how many there are.

    The format is CSV if the path ends in .csv, else signed JSON. This may take seconds, so call it
    in a thread. It opens the ledger a second time; another connection may be in use meanwhile.

    Raises `ExportError` when the file can't be written, `DatabaseError` when the ledger can't be
    opened.
    """
    entries = _all(ledger_file)
    as_csv = path.suffix.lower() == ".csv"
    content = to_csv(entries) if as_csv else to_json(entries, key=key)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ExportError(
            _("can't be written: {reason}.").format(reason=error.strerror), field=str(path)
        ) from error
    return len(entries)


def _all(ledger_file: Path) -> list[LedgerEntry]:
    ledger = Ledger.open(ledger_file)
    try:
        return ledger.all(limit=-1)[::-1]
    finally:
        ledger.close()


def to_csv(entries: Iterable[LedgerEntry]) -> bytes:
    """One line per contribution. Times are in ISO 8601, UTC; an unknown value is left empty."""
    lines = [_line(entry) for entry in entries]
    names = list(_line_names())
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def _line_names() -> list[str]:
    fields = [name for name in Contribution.__dataclass_fields__ if name not in _UNSIGNED]
    return [*fields, "score", "state", "backend", "remark"]


def _line(entry: LedgerEntry) -> dict[str, Any]:
    contribution = entry.contribution
    line = {name: value for name, value in asdict(contribution).items() if name not in _UNSIGNED}
    line |= {
        "started_at": iso(contribution.started_at),
        "ended_at": iso(contribution.ended_at),
        "score": contribution.score,
        "state": entry.state.value,
        "backend": entry.backend,
        "remark": entry.remark,
    }
    return {name: cell(value) for name, value in line.items()}


def to_json(entries: Iterable[LedgerEntry], *, key: MachineKey) -> bytes:
    """The signed document, indented so that people can read it. `check` reads it back."""
    document = {
        "format": FORMAT,
        "createdAt": iso(time.time()),
        "publicKey": key.public_key,
        "contributions": [
            entry.contribution.document()
            | {"signature": entry.contribution.signature, "state": entry.state.value}
            for entry in entries
        ],
    }
    document["signature"] = as_text(key.sign(canonical(document)))
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


# --- checking


def check(raw: bytes) -> dict[str, Any]:
    """Verify an exported document and return it.

    Raises `ExportError`, which names the first contribution whose signature doesn't fit.
    """
    document = _parsed(raw)
    for number, item in enumerate(document["contributions"], start=1):
        _check_item(item, field=f"contributions[{number}]")
    _check_once(document["contributions"])
    if not _fits(document, document["publicKey"], without=("signature",)):
        raise ExportError(
            _("the document's signature doesn't fit: contributions were added, left out or moved."),
            field="signature",
        )
    return document


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ExportError(_("this is no JSON: {reason}.").format(reason=error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ExportError(
            _("this is no signed export of contributions."),
            field="format",
            remedy=_("Export as JSON: a CSV file holds no signatures."),
        )
    if not isinstance(document.get("contributions"), list):
        raise ExportError(_("is missing."), field="contributions")
    if not isinstance(document.get("publicKey"), str):
        raise ExportError(_("is missing."), field="publicKey")
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that has a name twice: a person could read one value, and we check the
    other."""
    names = [name for name, _value in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice in an object")
    return dict(pairs)


def _check_item(item: Any, *, field: str) -> None:
    if not isinstance(item, dict):
        raise ExportError(_("this is no contribution."), field=field)
    if not _fits(item, str(item.get("publicKey")), without=("signature", "state")):
        name = f"{item.get('id')}, {item.get('startedAt')}"
        raise ExportError(
            _("the signature doesn't fit: it was changed ({name}).").format(name=name),
            field=field,
        )


def _fits(document: dict[str, Any], public_key: str, *, without: Sequence[str]) -> bool:
    content = {name: value for name, value in document.items() if name not in without}
    try:
        data = canonical(content)
    except (ValueError, RecursionError):
        return False
    return verify(public_key, data, from_text(str(document.get("signature"))))


def _check_once(items: list[dict[str, Any]]) -> None:
    seen: set[object] = set()
    for number, item in enumerate(items, start=1):
        if item["id"] in seen:
            raise ExportError(
                _("it is in the document twice ({name}).").format(name=item["id"]),
                field=f"contributions[{number}]",
            )
        seen.add(item["id"])


def verify_files(files: Sequence[Path]) -> int:
    """Print for each file whether its signatures fit. Returns 0 if all do, else 1."""
    return max([_verify_file(file) for file in files], default=0)


def _verify_file(file: Path) -> int:
    try:
        document = check(file.read_bytes())
    except OSError as error:
        return _say(file, _("can't be read: {reason}.").format(reason=error.strerror), status=1)
    except ExportError as error:
        return _say(file, _("NOT VALID: {reason}").format(reason=error.text), status=1)
    count = len(document["contributions"])
    result = ngettext(
        "valid: {count} contribution, signed with the key {key}.",
        "valid: {count} contributions, signed with the key {key}.",
        count,
    )
    return _say(file, result.format(count=count, key=document["publicKey"]), status=0)


def _say(file: Path, result: str, *, status: int) -> int:
    sys.stdout.write(one_line(f"{file}: {result}", most=4000) + "\n")
    sys.stdout.flush()
    return status
