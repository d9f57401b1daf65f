"""The app's folders in the user's home, the files in them, and the resources shipped with it."""

import errno
import json
import logging
import os
import re
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import platformdirs

from app.common.errors import FolderError
from app.common.i18n import _

log = logging.getLogger(__name__)

APP_NAME = "cotrain-contributor"

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the checkout, which holds ``main.py``; meaningless in a frozen app."""

RESOURCES = Path(getattr(sys, "_MEIPASS", ROOT)) / "resources"
"""Icons, themes and translations: beside the source, or inside the frozen app."""


START_BYTES = 256 * 1024
"""What must fit into each folder, or nothing is begun: keys, tokens, the first log lines."""

ROLE = "trainer"

WATCHED = "watched"
"""The checkpoint folder of a machine that doesn't train, beside those of trainers."""


def role_of(place: int) -> str:
    """Name of a trainer's identity file, checkpoint folder and log lines. place: its index."""
    return ROLE if place == 0 else f"{ROLE}-{place}"


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of one installation. `create` makes them with mode 0700."""

    data: Path
    logs: Path
    cache: Path

    @classmethod
    def default(cls) -> "Folders":
        """The folders in which the platform keeps an application's data, logs and caches."""
        return cls(
            data=platformdirs.user_data_path(APP_NAME, appauthor=False),
            logs=platformdirs.user_log_path(APP_NAME, appauthor=False),
            cache=platformdirs.user_cache_path(APP_NAME, appauthor=False),
        )

    @classmethod
    def under(cls, root: Path) -> "Folders":
        """All folders below one root, for a second instance, a test or a portable installation."""
        root = root.expanduser().absolute()
        return cls(data=root, logs=root / "logs", cache=root / "cache")

    @property
    def settings_file(self) -> Path:
        """The user's settings (JSON)."""
        return self.data / "settings.json"

    @property
    def start_file(self) -> Path:
        """Counts failed starts in a row (see `app.lifecycle.start_guard`)."""
        return self.data / "failed-starts"

    @property
    def lock_file(self) -> Path:
        """Locked by the one instance that uses this data folder."""
        return self.data / "instance.lock"

    @property
    def instance_file(self) -> Path:
        """The token in our processes' environment: the next start kills those still running."""
        return self.data / "instance.token"

    @property
    def recents_file(self) -> Path:
        """The swarms that were joined last (JSON)."""
        return self.data / "recent-swarms.json"

    @property
    def slots_file(self) -> Path:
        """The files and folders that fill the slots of swarms (JSON)."""
        return self.data / "slots.json"

    @property
    def door_file(self) -> Path:
        """The Unix socket on which the running instance listens for second starts."""
        return self.data / "instance.sock"

    @property
    def account_file(self) -> Path:
        """The signed-in backend account (JSON); holds its tokens too if there is no keyring."""
        return self.data / "account.json"

    @property
    def callback_tokens(self) -> Path:
        """The tokens that callers of the local API must present (JSON)."""
        return self.data / "callback-tokens.json"

    def identity_file(self, role: str) -> Path:
        """The private key of one libp2p peer; role: ``app`` (the embedded peer) or ``trainer``."""
        return self.data / "identities" / f"{role}.pem"

    @property
    def machine_key_file(self) -> Path:
        """The private key that signs this machine's records and contributions."""
        return self.data / "identities" / "machine.pem"

    @property
    def ledger_file(self) -> Path:
        """Every contribution of this machine (SQLite)."""
        return self.data / "ledger.sqlite"

    @property
    def tuning_file(self) -> Path:
        """The micro-batch size and compilation measured to be fastest on each device (JSON)."""
        return self.data / "tuning.json"

    @property
    def gpu_runtimes(self) -> Path:
        """Copies of PyTorch for the GPU that a packaged app has fetched, one folder each."""
        return self.data / "gpu-runtimes"

    def checkpoints(self, run_id: str) -> Path:
        """The folder with the checkpoints of one run."""
        return self.data / "checkpoints" / run_id

    def first_time(self, what: str) -> bool:
        """Whether this is the first call with this name; a marker file remembers it.

        False as well when the file can't be created: the answer would be True at each start.
        """
        marks = self.data / "once"
        try:
            marks.mkdir(mode=0o700, exist_ok=True)
            (marks / what).touch(exist_ok=False)
        except OSError:  # the marker exists, or can't be created
            return False
        return True

    def create(self) -> None:
        """Create every missing folder with mode 0700.

        Raises `FolderError` for one that can't be created or written to, or whose disk is full.
        """
        for folder in (self.data, self.logs, self.cache, self.data / "identities"):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _try_to_write(folder)
            except OSError as error:
                raise _unusable(folder, error) from error


def _try_to_write(folder: Path) -> None:
    probe = folder / f".room.{os.getpid()}.tmp"
    try:
        probe.write_bytes(bytes(START_BYTES))
    finally:
        probe.unlink(missing_ok=True)


def _unusable(folder: Path, error: OSError) -> FolderError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return FolderError(
        _("this folder can't be used: {reason}.").format(reason=error.strerror or error),
        field=str(folder),
        remedy=_("Make room on its disk, or choose another folder with --data-dir.")
        if is_full
        else _("Make it writable, or choose another one with --data-dir."),
    )


def name_aside(path: Path) -> Path:
    """An unused name beside a damaged file, to keep the file by."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return path.with_name(f"{path.stem}.damaged-{stamp}-{os.getpid()}{path.suffix}")


def set_aside(path: Path, *, why: object = "") -> Path:
    """Rename a damaged file or folder, so that a new one can take its place; returns its new path.

    why: for the log. Raises `OSError`.
    """
    aside = name_aside(path)
    path.rename(aside)
    damage = f"damaged ({why})" if why else "damaged"
    log.warning("%s is %s and was set aside as %s", path, damage, aside)
    return aside


def read_json(file: Path, *, most: int) -> Any:
    """The JSON in a file that this app wrote.

    Raises `OSError`, and `ValueError` for a damaged file: no JSON, or more than ``most`` bytes.
    """
    with file.open("rb") as stream:
        raw = stream.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"it is larger than {most} bytes")
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file by way of a rename: a crash leaves the old or the new content, never a mix."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def without_home(text: str) -> str:
    """The text with ``~`` in place of the path of the user's home folder."""
    home = Path.home()
    for path in {str(home), str(home.resolve())} - {"/"}:
        text = re.sub(rf"{re.escape(path)}(?![\w.-])", "~", text)
    return text


# --- files that others name: regular ones only, since a device or a pipe may never end

_KERNEL_FOLDERS = ("/proc", "/sys")
"""Their files look like regular ones, but tell of this machine and its processes."""


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read. Raises `OSError`, also for what is no regular file."""
    status_of_regular(path)  # opening alone makes some devices act
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor))  # the name may lead elsewhere by now
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def status_of_regular(path: Path) -> os.stat_result:
    """The status of a file. Raises `OSError`, also for what is no regular file."""
    status = path.stat()
    _check(status)
    return status


def _check(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, _("it is a folder"))
    if not stat.S_ISREG(status.st_mode) or status.st_dev in _kernel_devices():
        raise OSError(errno.EINVAL, _("it is no regular file"))


def _kernel_devices() -> set[int]:
    return {os.stat(folder).st_dev for folder in _KERNEL_FOLDERS if os.path.exists(folder)}  # noqa: PTH110, PTH116
