"""The real window with the demo, as `long_run.py` starts it:

    python tests/bench/long_window.py DATA_FOLDER

Prints lines of JSON: the invite once others can join, each `Work`, `RoundEnded` and loss of its own
trainer as they come, and when that has ended. Ends in order with SIGTERM.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from app import protocol  # noqa: E402
from app.cli import parse  # noqa: E402
from app.demo import demo_spec  # noqa: E402
from app.state.events import Event, TrainerGone  # noqa: E402
from app.state.store import Store  # noqa: E402
from ui.application import run  # noqa: E402


def say(kind: str, value: Any) -> None:
    """A line."""
    print(json.dumps({"time": time.time(), kind: value}), flush=True)


class Spy:
    """Sees all events of the store, after it has taken them."""

    def __init__(self) -> None:
        self._invited = False
        self._dispatch = Store.dispatch

    def dispatch(self, store: Store, event: Event) -> None:
        """In place of the store's."""
        self._dispatch(store, event)
        match event:
            case protocol.Work() | protocol.RoundEnded():
                say(type(event).__name__, msgspec.to_builtins(event))
            case protocol.Progress(loss=float(loss), epoch=epoch):
                say("loss", {"epoch": epoch, "loss": loss})
            case TrainerGone():
                say("gone", None)
        state = store.state
        if not self._invited and state.swarm is not None and state.addresses:
            self._invited = True
            spec = demo_spec().to_json() | {"run_id": state.swarm.run_id}
            say("invite", spec | {"initial_peers": list(state.addresses)})


SPY = Spy()


def watched(store: Store, event: Event) -> None:
    """A function, since Python gives it the store; a method of the spy would not get it."""
    SPY.dispatch(store, event)


if __name__ == "__main__":
    setattr(Store, Store.dispatch.__name__, watched)
    options = ("--demo", "--train", "--threads", "1", "--callback-port", "0")
    sys.exit(run(parse([*options, "--data-dir", sys.argv[1]])))
