"""CoTrain Contributor: choose the process that this is."""

import sys


def main() -> int:
    """The trainer child, the guardian, headless, or the window; returns the exit status."""
    if sys.argv[1:2] == ["--trainer"]:
        from app.trainer.process import main as trainer

        return trainer(sys.argv[2:])
    if sys.argv[1:2] == ["--guardian"]:
        from app.processes import guard

        return guard(sys.argv[2])
    from app.cli import has_display, parse

    arguments = parse(sys.argv[1:])
    if arguments.headless or not has_display():
        from app.headless import run as headless

        return headless(arguments)
    from ui.application import run as window

    return window(arguments)


if __name__ == "__main__":
    sys.exit(main())
