"""However it ends, nothing is left behind, and nothing that was learnt is lost."""

import asyncio
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.processes.apps import (
    PATIENCE,
    ROOT,
    StartApp,
    freed_within,
    gone_within,
    group_of,
    lone_spec,
    running_parts,
    shared_memory,
    training,
)

pytestmark = [pytest.mark.e2e]


@pytest.fixture
def patient_code(tmp_path: Path) -> Path:
    """Where to find an app that gives its trainer long to leave: on a busy machine the step, the
    checkpoint and the leaving take more than the 8 s of an app whose user waits."""
    (tmp_path / "main.py").write_text(
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "if '--headless' in sys.argv:\n"
        "    import app.session\n"
        f"    app.session.CLOSE_SECONDS = {PATIENCE / 2}\n"
        f"runpy.run_path({str(ROOT / 'main.py')!r}, run_name='__main__')\n",
        encoding="utf-8",
    )
    return tmp_path


async def test_sigterm_ends_it_cleanly(start_app: StartApp, patient_code: Path) -> None:
    app = await start_app(spec=lone_spec(), code=patient_code)
    await app.trains(epoch=1)
    trainer = app.trainer().pid
    assert shared_memory(trainer)
    assert await app.stop(signal.SIGTERM) == 0
    assert "trainer terminated" not in app.log()  # it was asked, and left in time
    assert running_parts() == []
    assert not shared_memory(trainer)  # a service manager would now kill what frees it
    assert list((app.folder / "checkpoints" / "tiny" / "trainer").glob("epoch-*.pt"))
    assert "Traceback" not in app.errors


@pytest.mark.slow
async def test_ctrl_c_in_a_terminal_reaches_the_whole_group(start_app: StartApp) -> None:
    app = await start_app(spec=lone_spec())
    await app.trains()
    for process in psutil.process_iter():
        if process.pid != app.process.pid and group_of(process) == app.process.pid:
            process.send_signal(signal.SIGINT)
    assert await app.stop(signal.SIGINT) == 0
    assert running_parts() == []
    assert all(
        line["reconnect_at"] is None for line in app.lines
    )  # that its daemon is gone is fine
    assert "Traceback" not in app.errors


@pytest.mark.slow
async def test_app_and_trainer_killed_at_once_leave_nothing_behind(start_app: StartApp) -> None:
    app = await start_app(spec=lone_spec())
    await app.trains()
    parts, trainer = running_parts(), app.trainer()
    app.process.kill()
    trainer.kill()
    assert await asyncio.to_thread(gone_within, PATIENCE, parts)
    assert await asyncio.to_thread(freed_within, PATIENCE, trainer.pid)
    await app.ends()


async def test_a_second_instance_on_the_same_folder_is_refused(start_app: StartApp) -> None:
    app = await start_app(spec=lone_spec(), name="same")
    await app.wait_for(lambda line: bool(line["addresses"]))
    other = await start_app(spec=lone_spec(), name="same")
    assert await other.ends() == 1
    assert "--data-dir" in other.errors
    assert app.process.returncode is None


@pytest.mark.slow
async def test_a_run_that_reaches_its_end_says_so(start_app: StartApp) -> None:
    short = training(target_batch_size=512, stop={"epochs": 1})
    app = await start_app(spec=lone_spec(training_params=short))
    assert await app.ends() == 0
    assert app.last["problem"] is None
