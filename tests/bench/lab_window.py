"""The real window of a lab's admin, who commands all machines at once:

    python tests/bench/lab_window.py SPEC_FILE FOLDER MACHINES

Prints as JSON how long it took from the click to the last answer, how many did as they were told,
and the longest gaps between two beats of the loop meanwhile. FOLDER: has the lab's key.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "bench")]

from fleet_window import Beat, all_rows, window_on  # noqa: E402
from qasync import QEventLoop  # noqa: E402

from app.lab.messages import LabVerdict  # noqa: E402
from ui.application import make_application  # noqa: E402
from ui.dialogs.lab.dialog import LabDialog  # noqa: E402
from ui.texts import lab as lab_texts  # noqa: E402

TIMES = 5


async def measure(
    application: Any, file: Path, folder: Path, machines: int
) -> list[dict[str, Any]]:
    """Some commands, one after the other."""
    async with window_on(application, folder, file) as (_session, window):
        page = await all_rows(window, machines)
        page.command.click()
        dialog = window.findChild(LabDialog)
        while not dialog.key.text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        beat = Beat()
        beating = asyncio.create_task(beat.run())
        found = [await commanded(dialog, beat, threads) for threads in range(1, TIMES + 1)]
        beating.cancel()
        dialog.reject()
    return found


async def commanded(dialog: LabDialog, beat: Beat, threads: int) -> dict[str, Any]:
    """Click, and wait for all answers."""
    dialog.what.setCurrentIndex(dialog.what.findData("set"))
    dialog.value.setText(f"threads={threads}")
    await asyncio.sleep(1.0)
    beat.take("before")
    begun = time.perf_counter()
    dialog.send.click()
    while not dialog.send.isEnabled():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    took = time.perf_counter() - begun
    done = lab_texts.outcome(LabVerdict.DONE)
    texts = [dialog.list.item(place).text() for place in range(dialog.list.count())]
    return {"seconds": took, "done": sum(each.endswith(done) for each in texts)} | beat.take("loop")


def main() -> None:
    """One run."""
    application = make_application("en")
    with asyncio.Runner(loop_factory=lambda: QEventLoop(application)) as runner:
        arguments = (Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
        print(json.dumps(runner.run(measure(application, *arguments))), flush=True)


if __name__ == "__main__":
    main()
