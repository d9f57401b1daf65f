"""What a chart shows as a table, which becomes CSV or JSON."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.common.plain import cell


@dataclass(frozen=True)
class ValueTable:
    """Columns and rows; None is a value that isn't known."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    about: Mapping[str, str] = field(default_factory=dict)
    """What holds for all rows, by its name: the chart's title, the unit, the run."""

    def as_csv(self) -> str:
        """A line for each row; unknown values are empty. What holds for all rows is in the last
        columns, so that every program that reads CSV can read it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(cell, (*self.columns, *self.about)))
        shared = [cell(value) for value in self.about.values()]
        for row in self.rows:
            writer.writerow([*("" if value is None else cell(value) for value in row), *shared])
        return text.getvalue()

    def as_json(self) -> str:
        """What holds for all rows, and ``rows``: an object for each; unknown values are null."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return json.dumps({**self.about, "rows": rows}, indent=1, ensure_ascii=False) + "\n"
