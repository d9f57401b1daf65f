"""The app's own processes are found and killed, and no others."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.lifecycle import processes
from app.lifecycle.processes import MAIN, TOKEN

WAIT = 20.0  # seconds; only a failing test waits for all of them

WAITING = "import sys; print('here', flush=True); sys.stdin.read()"
"""A child that prints a line when it has started, and ends when its stdin is closed."""

SHELL_WAITING = ("-c", "echo here; read line")
"""Arguments with which a shell, whatever its name, does the same."""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def token() -> str:
    return secrets.token_hex(16)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process with a token in its environment; the fixture kills it at the end."""
    with contextlib.ExitStack() as stack:

        def start_one(*command: str, token: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, TOKEN: token},
                start_new_session=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start_one


@pytest.fixture
def trainer(start: Start, token: str) -> "subprocess.Popen[bytes]":
    return started(start(sys.executable, "-c", WAITING, "--trainer", token=token))


@pytest.fixture
def p2pd(start: Start, token: str, tmp_path: Path) -> "subprocess.Popen[bytes]":
    return start_p2pd(start, token, tmp_path)


def start_p2pd(start: Start, token: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Start a copy of ``sleep`` that is named p2pd."""
    program = folder / "p2pd"
    shutil.copy(shutil.which("sh") or "", program)
    process = started(start(str(program), *SHELL_WAITING, token=token))
    assert psutil.Process(process.pid).name() == "p2pd"
    return process


def started(process: "subprocess.Popen[bytes]") -> "subprocess.Popen[bytes]":
    """Once the program has begun: `Popen` returns halfway through exec, while Linux still shows an
    empty environment of the process, without the token."""
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    return process


def killed(process: "subprocess.Popen[bytes]") -> bool:
    return process.wait(WAIT) == -9


def lives(process: "subprocess.Popen[bytes]") -> bool:
    return process.poll() is None


# --- the token -----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(TOKEN, "")  # restores the variable at the end
    return tmp_path / "instance.token"


def test_children_inherit_the_token(file: Path) -> None:
    token = processes.mark_children(file)
    command = [sys.executable, "-S", "-c", f"import os; print(os.environ['{TOKEN}'])"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == (
        token
    )


def test_token_is_kept_for_the_next_start(file: Path) -> None:
    assert processes.mark_children(file) == file.read_text(encoding="utf-8")


def test_every_run_has_its_own_token(file: Path) -> None:
    assert processes.mark_children(file) != processes.mark_children(file)


def test_from_source_a_child_is_started_with_main_py() -> None:
    assert processes.command_line("--trainer", "x") == [
        sys.executable,
        str(MAIN),
        "--trainer",
        "x",
    ]


def test_frozen_app_starts_its_own_executable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert processes.command_line("--trainer") == [sys.executable, "--trainer"]


# --- the sweep -----------------------------------------------------------------------------------


def test_sweep_ends_a_trainer(trainer: "subprocess.Popen[bytes]", token: str) -> None:
    assert processes.sweep(token) == [trainer.pid]
    assert killed(trainer)


def test_sweep_ends_p2pd(p2pd: "subprocess.Popen[bytes]", token: str) -> None:
    assert processes.sweep(token) == [p2pd.pid]
    assert killed(p2pd)


def test_sweep_spares_a_program_that_the_window_opened(start: Start, token: str) -> None:
    browser = started(start("sh", *SHELL_WAITING, token=token))
    assert processes.sweep(token) == []
    assert lives(browser)


def test_sweep_spares_torch_shm_manager(start: Start, token: str, tmp_path: Path) -> None:
    manager = tmp_path / "torch_shm_manager"
    shutil.copy(shutil.which("sh") or "", manager)
    process = started(start(str(manager), *SHELL_WAITING, token=token))
    assert processes.sweep(token) == []
    assert lives(process)


def test_sweep_spares_the_trainer_of_another_run(start: Start, token: str) -> None:
    other = started(start(sys.executable, "-c", WAITING, "--trainer", token=secrets.token_hex(16)))
    assert processes.sweep(token) == []
    assert lives(other)


def test_last_run_is_swept(trainer: "subprocess.Popen[bytes]", token: str, tmp_path: Path) -> None:
    file = tmp_path / "instance.token"
    file.write_text(f"{token}\n", encoding="utf-8")
    assert processes.sweep_last_run(file) == [trainer.pid]
    assert killed(trainer)


def test_without_a_last_run_nothing_is_swept(tmp_path: Path) -> None:
    assert processes.sweep_last_run(tmp_path / "instance.token") == []


@pytest.mark.parametrize("content", [b"", b"\n", b"abc", b"\xff" * 40, b"\0" * 4096])
def test_garbled_token_sweeps_nothing(start: Start, tmp_path: Path, content: bytes) -> None:
    unmarked = started(start(sys.executable, "-c", WAITING, "--trainer", token=""))
    file = tmp_path / "instance.token"
    file.write_bytes(content)
    assert processes.sweep_last_run(file) == []
    assert lives(unmarked)


# --- the guardian --------------------------------------------------------------------------------

IMPATIENT = "from app.lifecycle import processes as p; p.GRACE_SECONDS = 0.2; p.guard('{token}')"

TALKING = """
from app.lifecycle import processes as p
def sleep(seconds, really=p.time.sleep):
    print("waits", flush=True)
    really(seconds)
p.time.sleep = sleep
p.guard('{token}')
"""


def guardian_that(program: str, token: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", program.format(token=token)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=MAIN.parent,
    )


@pytest.fixture
def guardian(token: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = processes.start_guardian(token)
    with process:
        yield process
        process.kill()


def close(guardian: "subprocess.Popen[bytes]") -> int:
    """The app is gone; returns how the guardian ended."""
    assert guardian.stdin is not None
    guardian.stdin.close()
    return guardian.wait(WAIT)


def test_guardian_kills_processes_that_are_left(
    guardian: "subprocess.Popen[bytes]", p2pd: "subprocess.Popen[bytes]"
) -> None:
    assert close(guardian) == 0
    assert killed(p2pd)


def test_guardian_spares_a_program_that_the_window_opened(
    guardian: "subprocess.Popen[bytes]", start: Start, token: str
) -> None:
    browser = started(start("sh", *SHELL_WAITING, token=token))
    assert close(guardian) == 0
    assert lives(browser)


def test_guardian_doesnt_carry_the_token(
    file: Path, guardian: "subprocess.Popen[bytes]", token: str
) -> None:
    assert TOKEN not in psutil.Process(guardian.pid).environ()


def test_guardian_has_a_session_of_its_own(guardian: "subprocess.Popen[bytes]") -> None:
    assert os.getsid(guardian.pid) == guardian.pid


def test_guardian_waits_for_a_trainer_that_ends_by_itself(
    trainer: "subprocess.Popen[bytes]", token: str
) -> None:
    with guardian_that(TALKING, token) as talking:
        assert talking.stdin is not None
        assert talking.stdout is not None
        assert trainer.stdin is not None
        talking.stdin.close()
        assert talking.stdout.readline() == b"waits\n"
        trainer.stdin.close()
        assert trainer.wait(WAIT) == 0
        assert talking.wait(WAIT) == 0


def test_guardian_kills_a_trainer_that_doesnt_end(
    trainer: "subprocess.Popen[bytes]", token: str
) -> None:
    with guardian_that(IMPATIENT, token) as impatient:
        assert close(impatient) == 0
        assert killed(trainer)


def test_sockets_that_nobody_listens_at_are_removed() -> None:
    with tempfile.TemporaryDirectory() as name:  # short: a socket's path is limited
        folder = Path(name)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / "hivemind-p2pclient-b.sock"))  # closing leaves the file
        with socket.socket(socket.AF_UNIX) as alive:
            alive.bind(str(folder / "hivemind-p2pd-a.sock"))
            alive.listen()
            (folder / "other.sock").touch()
            removed = processes.remove_dead_sockets(folder)
            assert [path.name for path in removed] == ["hivemind-p2pclient-b.sock"]
            assert {path.name for path in folder.iterdir()} == {
                "hivemind-p2pd-a.sock",
                "other.sock",
            }
