"""CoTrain Contributor: choose which of its processes to run."""

import gc
import sys


def main() -> int:
    """Run the trainer, the guardian, the headless app or the window; returns the exit status."""
    if hasattr(sys, "frozen"):
        from multiprocessing import freeze_support

        freeze_support()  # a helper process of multiprocessing runs in here and exits
    if sys.argv[1:2] == ["--trainer"]:
        from app.trainer.process import main as trainer

        return trainer(sys.argv[2:])
    if sys.argv[1:2] == ["--guardian"]:
        from app.lifecycle.processes import guard

        return guard(sys.argv[2])
    from app.cli import has_display, parse

    if (arguments := parse(sys.argv[1:])).headless or not has_display():
        from app.headless.run import run
    else:
        gc.disable()  # until the session is open: collections would only slow the imports down
        from ui.application import run
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
