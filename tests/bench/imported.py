"""What the app has imported when its window is painted, as a JSON list in the order of the imports:

python tests/bench/imported.py FOLDER
"""

import json
import logging
import os
import sys
from pathlib import Path

from typing_extensions import override

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


class _Listener(logging.Handler):
    """Prints the modules at that moment, and ends the program."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "window painted":
            print(json.dumps(list(sys.modules)), flush=True)
            os._exit(0)


if __name__ == "__main__":
    logging.getLogger("ui").addHandler(_Listener())
    sys.argv = [str(ROOT / "main.py"), "--data-dir", sys.argv[1]]
    from main import main

    main()
