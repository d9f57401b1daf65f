"""The strategies' tables, which `strategies.py` beside this folder makes."""

import subprocess
import sys
from collections.abc import Sequence

from measuring import HERE


def strategies(arguments: Sequence[str] = ()) -> None:
    """All of them; arguments: of that script."""
    subprocess.run([sys.executable, str(HERE / "strategies.py"), *arguments], check=True)
