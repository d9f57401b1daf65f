"""The real window on the devices' page:

    python tests/bench/devices_window.py

Prints as JSON what part of a core it takes to read this machine's devices once a second, without
a picture and with one, and what the window takes on the overview.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from qasync import QEventLoop  # noqa: E402

from app import protocol  # noqa: E402
from app.common import logs  # noqa: E402
from app.common.paths import Folders  # noqa: E402
from app.desktop import autostart  # noqa: E402
from app.machine.hardware import Reading  # noqa: E402
from app.session import Session  # noqa: E402
from app.settings import loading  # noqa: E402
from app.state.events import DeviceChosen  # noqa: E402
from ui.application import LazyDemo, make_application  # noqa: E402
from ui.main_window import MainWindow  # noqa: E402
from ui.models.actions import Actions  # noqa: E402
from ui.models.preferences import Preferences  # noqa: E402
from ui.models.session_model import SessionModel  # noqa: E402
from ui.style.theme import Theme  # noqa: E402

PERIOD_SECONDS = 30.0


async def share_of_core() -> float:
    """Of all this process's threads, over a while."""
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(PERIOD_SECONDS)
    return (time.process_time() - used) / (time.perf_counter() - began)


def ignore(reading: Reading) -> None:
    """Nobody draws it."""


async def measure(application: Any, folder: Path) -> dict[str, float]:
    """Idle, reading, and reading with the page open."""
    folders = Folders.under(folder)
    folders.create()
    logging_ = logs.start(folders.logs)
    session = Session(settings=loading.load(folders.settings_file), folders=folders)
    model = SessionModel(session)
    opened = asyncio.get_running_loop().create_future()
    actions = Actions(model, demo=LazyDemo(session), opened=opened)
    theme = Theme(application, "dark")
    kept = Preferences(model, theme, autostart=autostart.of_this_system(folder), origins={})
    window = MainWindow(model, actions, theme, logging_.ring, preferences=kept)
    window.show()
    cpu = protocol.Device(id="cpu", name="CPU", memory=2**33)
    session.store.dispatch(protocol.Devices(devices=(cpu,), torch_version="2", cuda="12.6"))
    session.store.dispatch(DeviceChosen(device="cpu"))
    await asyncio.sleep(3)
    result = {"idle": await share_of_core()}
    watching = session.devices.watch(ignore)
    await asyncio.sleep(3)
    result["reading"] = await share_of_core()
    watching.close()
    window.open_page([page.title for page in window.pages].index("Devices"))
    await asyncio.sleep(3)
    result["page"] = await share_of_core()
    await model.close()
    await session.devices.close()
    window.close_now()
    logging_.close()
    return result


def main() -> None:
    """One run."""
    application = make_application("en")
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=lambda: QEventLoop(application)) as runner,
    ):
        print(json.dumps(runner.run(measure(application, Path(name)))), flush=True)


if __name__ == "__main__":
    main()
