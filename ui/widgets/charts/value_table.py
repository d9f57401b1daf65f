"""What a chart shows as a table, which becomes CSV or JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ValueTable:
    """Columns and rows; None is a value that isn't known."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    def as_csv(self) -> str:
        """A line for each row; unknown values are empty."""
        lines = [",".join("" if cell is None else str(cell) for cell in row) for row in self.rows]
        return "\n".join([",".join(self.columns), *lines, ""])

    def as_json(self) -> str:
        """A list with an object for each row; unknown values are null."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return json.dumps(rows, indent=1) + "\n"
