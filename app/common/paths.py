"""Where things are: our folders in the user's home, and the resources shipped with the app."""

import errno
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from app.common.errors import FolderError
from app.common.i18n import _

APP_NAME = "cotrain-contributor"

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, with ``main.py``; of no use in a frozen app."""

RESOURCES = Path(getattr(sys, "_MEIPASS", ROOT)) / "resources"
"""Icons, themes, translations: beside the source, or inside the frozen app."""


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of one installation. `create` makes them, readable by their owner alone."""

    data: Path
    logs: Path
    cache: Path

    @classmethod
    def default(cls) -> "Folders":
        """Where the platform keeps an application's data, logs and caches."""
        return cls(
            data=platformdirs.user_data_path(APP_NAME, appauthor=False),
            logs=platformdirs.user_log_path(APP_NAME, appauthor=False),
            cache=platformdirs.user_cache_path(APP_NAME, appauthor=False),
        )

    @classmethod
    def under(cls, root: Path) -> "Folders":
        """Everything below one folder: a second instance, a test, a portable installation."""
        root = root.expanduser().absolute()
        return cls(data=root, logs=root / "logs", cache=root / "cache")

    @property
    def settings_file(self) -> Path:
        """The user's settings (JSON)."""
        return self.data / "settings.json"

    @property
    def start_file(self) -> Path:
        """How many starts in a row came to nothing."""
        return self.data / "failed-starts"

    @property
    def lock_file(self) -> Path:
        """Held by the one instance that uses this data folder."""
        return self.data / "instance.lock"

    @property
    def instance_file(self) -> Path:
        """The token that marks the processes of the last run, for the sweep at the next start."""
        return self.data / "instance.token"

    @property
    def recents_file(self) -> Path:
        """The swarms that were joined last (JSON)."""
        return self.data / "recent-swarms.json"

    @property
    def door_file(self) -> Path:
        """The socket at which the running instance takes what a second start was given."""
        return self.data / "instance.sock"

    @property
    def account_file(self) -> Path:
        """Who is signed in to the backend; its secrets too where there is no keyring."""
        return self.data / "account.json"

    @property
    def callback_tokens(self) -> Path:
        """The tokens that callers of the local API present."""
        return self.data / "callback-tokens.json"

    def identity_file(self, role: str) -> Path:
        """The key of one of our peers: ``app`` (the embedded one) or ``trainer``."""
        return self.data / "identities" / f"{role}.pem"

    @property
    def machine_key_file(self) -> Path:
        """The key that signs what this machine says of itself."""
        return self.data / "identities" / "machine.pem"

    @property
    def ledger_file(self) -> Path:
        """Every contribution of this machine (SQLite)."""
        return self.data / "ledger.sqlite"

    @property
    def tuning_file(self) -> Path:
        """What was found to be fastest on each device (JSON)."""
        return self.data / "tuning.json"

    @property
    def gpu_runtimes(self) -> Path:
        """PyTorch for the GPU, where a packaged app has fetched it."""
        return self.data / "gpu-runtimes"

    def checkpoints(self, run_id: str) -> Path:
        """Checkpoints of one run."""
        return self.data / "checkpoints" / run_id

    def first_time(self, what: str) -> bool:
        """Whether something happens for the first time with these folders, that happens once."""
        marks = self.data / "once"
        try:
            marks.mkdir(mode=0o700, exist_ok=True)
            (marks / what).touch(exist_ok=False)
        except OSError:  # the mark is there; or can't be made, and would be asked for ever
            return False
        return True

    def create(self) -> None:
        """Make every folder that is missing, mode 0700.

        Raises `FolderError` for one that can't be made or written to.
        """
        for folder in (self.data, self.logs, self.cache, self.data / "identities"):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                writable = os.access(folder, os.W_OK)
            except OSError as error:
                raise _unusable(folder, error.strerror or str(error)) from error
            if not writable:
                raise _unusable(folder, os.strerror(errno.EACCES))


def _unusable(folder: Path, reason: str) -> FolderError:
    return FolderError(
        _("this folder can't be used: {reason}.").format(reason=reason),
        field=str(folder),
        remedy=_("Make it writable, or choose another one with --data-dir."),
    )


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file as a whole: a crash leaves the old content or the new, never a half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
