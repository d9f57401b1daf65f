"""A machine of its own for one command: no network but loopback, no Python, no trace afterwards.

It shows the system that it runs on, with every change kept in an overlay that is thrown away,
so what a program wrote, and where, can simply be listed. Linux, as root or where users may make
namespaces.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INSIDE = "COTRAIN_SANDBOX"
"""Set once we are alone in our namespaces."""

USER = 1000
HOME = Path("/home/volunteer")
USERS = Path("/etc/passwd")


def enter() -> None:
    """Start this script anew in namespaces of its own: network, processes, mounts."""
    if INSIDE in os.environ:
        _tool("ip", "link", "set", "lo", "up")
        return
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        command.append("--map-root-user")
    os.environ[INSIDE] = "as-root" if os.geteuid() == 0 else "as-user"
    os.execvp(command[0], [*command, sys.executable, *sys.argv])


class Sandbox:
    """root: where the system shows, for writing into it before a command runs."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self.root = base / "root"
        self._changes = base / "changes"

    def run(self, *command: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command as root, to its end. Raises `CalledProcessError`."""
        made = ["chroot", str(self.root), *command]
        return subprocess.run(made, check=True, capture_output=True, text=True, **options)

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a command as the volunteer, who has an empty home and no environment."""
        variables = {"HOME": str(HOME), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"} | environment
        settings = [f"{name}={value}" for name, value in variables.items()]
        who = [f"--userspec={USER}:{USER}"] if os.environ[INSIDE] == "as-root" else []
        log = (self._base / "output").open("ab")
        return subprocess.Popen(
            ["chroot", *who, str(self.root), "env", "-i", *settings, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def allow_fuse(self) -> None:
        """Let the volunteer show file systems, as desktops do, whatever this machine has."""
        if os.environ[INSIDE] == "as-root":
            node = self._base / "fuse"
            _tool("mknod", "--mode=666", str(node), "c", "10", "229")
            _tool("mount", "--bind", str(node), str(self.root / "dev/fuse"))

    def output(self) -> str:
        """What started commands have printed so far; "" before the first one."""
        file = self._base / "output"
        return file.read_text(errors="replace") if file.exists() else ""

    def written(self) -> list[Path]:
        """The files that are new or changed, as the system names them."""
        return [
            Path("/") / path.relative_to(self._changes)
            for path in sorted(self._changes.rglob("*"))
            if not path.is_dir() and path != self._changes / str(USERS)[1:]
        ]

    def left_behind(self) -> list[Path]:
        """What lies in the folders for temporary files."""
        folders = (self.root / "tmp", self.root / "dev/shm")
        return [path for folder in folders for path in sorted(folder.iterdir())]


def processes() -> dict[int, str]:
    """The names of all processes here besides this one, by their ids; without those that are over
    and only wait to be noticed, which this one, the first here, doesn't."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            with contextlib.suppress(OSError):
                name, state = re.search(r"\((.*)\) (\w)", (path / "stat").read_text()).groups()
                found |= {int(path.name): name} if state != "Z" else {}
    return found


@contextmanager
def opened(base: Path, *, hidden: Sequence[Path]) -> Iterator[Sandbox]:
    """Lay it out in an empty folder. hidden: folders that aren't to be seen from inside."""
    made = Sandbox(base)
    _mount("tmpfs", base)
    for folder in (made.root, base / "changes", base / "work"):
        folder.mkdir()
    layers = f"lowerdir=/,upperdir={base / 'changes'},workdir={base / 'work'}"
    _mount("overlay", made.root, "-o", layers)
    for source in ("/proc", "/sys", "/dev"):
        _tool("mount", "--rbind", source, str(made.root / source[1:]))
    for folder in ("tmp", "run", "dev/shm", "var/tmp"):
        _mount("tmpfs", made.root / folder, "-o", "mode=1777")
    for path in hidden:
        if (inside := made.root / str(path)[1:]).is_dir():
            _mount("tmpfs", inside)
    _make_home(made.root / str(HOME)[1:])
    with (made.root / str(USERS)[1:]).open("a") as users:
        users.write(f"volunteer:x:{USER}:{USER}::{HOME}:/bin/sh\n")
    try:
        yield made
    finally:
        _tool("umount", "--recursive", str(made.root))
        _tool("umount", str(base))


def _make_home(home: Path) -> None:
    home.mkdir(parents=True)
    if os.environ[INSIDE] == "as-root":
        shutil.chown(home, USER, USER)


def _mount(kind: str, target: Path, *options: str) -> None:
    _tool("mount", "-t", kind, *options, kind, str(target))


def _tool(*command: str) -> None:
    subprocess.run(command, check=True)
