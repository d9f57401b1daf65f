"""The real window on a swarm of many machines:

    python tests/bench/fleet_window.py SPEC_FILE MACHINES

Joins, opens the machines' page, and prints as JSON how long it took until every machine was in
the table, the longest gaps between two beats of the loop, memory, and what reading costs.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "bench")]

import psutil  # noqa: E402
from crowd import count_bytes  # noqa: E402
from qasync import QEventLoop  # noqa: E402

from app.common import logs  # noqa: E402
from app.common.paths import Folders  # noqa: E402
from app.desktop import autostart  # noqa: E402
from app.session import Session  # noqa: E402
from app.settings import loading  # noqa: E402
from app.spec import invite  # noqa: E402
from ui.application import LazyDemo, make_application  # noqa: E402
from ui.main_window import MainWindow  # noqa: E402
from ui.models.actions import Actions  # noqa: E402
from ui.models.preferences import Preferences  # noqa: E402
from ui.models.session_model import SessionModel  # noqa: E402
from ui.style.theme import Theme  # noqa: E402
from ui.texts import fleet as fleet_texts  # noqa: E402

IDLE_SECONDS = 10.0
WATCH_SECONDS = 30.0
BEAT_SECONDS = 0.005


class Beat:
    """The longest gap between two beats of the loop, beyond what was asked for; and the most
    that its thread computed between two, which a busy computer doesn't lengthen."""

    def __init__(self) -> None:
        self.longest = self.busiest = 0.0

    async def run(self) -> None:
        last, worked = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now, work = time.perf_counter(), time.thread_time()
            self.longest = max(self.longest, now - last - BEAT_SECONDS)
            self.busiest = max(self.busiest, work - worked)
            last, worked = now, work

    def take(self, name: str) -> dict[str, float]:
        """Milliseconds of the longest since the last time."""
        found = {f"{name}_gap": self.longest * 1000, f"{name}_busy": self.busiest * 1000}
        self.longest = self.busiest = 0.0
        return found


def memory() -> float:
    """MiB of this process alone."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


@asynccontextmanager
async def window_on(
    application: Any, folder: Path, invitation: Path
) -> AsyncIterator[tuple[Session, MainWindow]]:
    """The window, with its data in a folder, in the swarm of an invite's file."""
    folders = Folders.under(folder)
    folders.create()
    logging_ = logs.start(folders.logs)
    session = Session(settings=loading.load(folders.settings_file), folders=folders)
    session.machines.publishing = False
    model, opened = SessionModel(session), asyncio.get_running_loop().create_future()
    actions = Actions(model, demo=LazyDemo(session), opened=opened)
    theme = Theme(application, "dark")
    kept = Preferences(model, theme, autostart=autostart.of_this_system(folder), origins={})
    window = MainWindow(model, actions, theme, logging_.ring, preferences=kept)
    window.show()
    await session.open(look_for_devices=False)
    await window.complete()
    opened.set_result(None)
    await session.swarm.join(invite.load_file(invitation))
    yield session, window
    await model.close()
    await session.close()
    window.close_now()
    logging_.close()


async def all_rows(window: MainWindow, machines: int) -> Any:
    """The machines' page, open and with a row for each machine."""
    begun = time.perf_counter()
    window.open_page([page.title for page in window.pages].index("Machines"))
    page = window.machines.widget
    while page.model.rowCount() < machines:
        await asyncio.sleep(0.01)
        assert time.perf_counter() - begun < 120, f"{page.model.rowCount()} rows"
    window.repaint()
    return page


async def measure(application: Any, file: Path, machines: int, folder: Path) -> dict[str, Any]:
    """From the joined window without the page to one that has watched for a while."""
    async with window_on(application, folder, file) as (session, window):
        return await watch(session, window, machines)


async def watch(session: Session, window: MainWindow, machines: int) -> dict[str, Any]:
    await asyncio.sleep(5)
    before, counted, beat = memory(), count_bytes(), Beat()
    beating = asyncio.create_task(beat.run())
    await asyncio.sleep(IDLE_SECONDS)
    result: dict[str, Any] = beat.take("idle")
    counted[0] = 0
    begun = time.perf_counter()
    page = await all_rows(window, machines)
    full = time.perf_counter() - begun
    result |= beat.take("first")
    counted[0] = 0
    watched = time.perf_counter()
    await asyncio.sleep(WATCH_SECONDS)
    result |= beat.take("watch") | {
        "full": full,
        "bytes_a_minute": counted[0] * 60 / (time.perf_counter() - watched),
        "before": before,
        "after": memory(),
        "dropped": fleet_texts.dropped_records(session.machines.fleet.dropped),
        "silent": sum("silent" in page.model.index(row, 2).data() for row in range(machines)),
    }
    beating.cancel()
    return result


def main() -> None:
    """One run."""
    application = make_application("en")
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=lambda: QEventLoop(application)) as runner,
    ):
        arguments = (Path(sys.argv[1]), int(sys.argv[2]), Path(name))
        print(json.dumps(runner.run(measure(application, *arguments))), flush=True)


if __name__ == "__main__":
    main()
