"""A data folder that version 0.1.0 wrote: see ``tests/data/data_folder_0_1_0/README.md``."""

import os
import shutil
from pathlib import Path

WHERE = Path(__file__).parents[2] / "data" / "data_folder_0_1_0"
FOLDER = WHERE / "folder"
EXPORTED = WHERE / "contributions.json"

EPOCHS = {"kept": 3, "own": 2}
"""How far its runs were."""

APP_PEER = "QmWztEeCGx1bvfQbCsqTeX8k1pUJNEaMC4Y4ttbJU7Mjq8"
TRAINER_PEER = "QmSeHehQ2p6jgyo4h1rhMsrMJfGP4ArLp9y3Qa96hjeTgk"
PUBLIC_KEY = "qbSWX7eGIKPUZQDVmWZhJ9MEhSRH61zpNYe41zzuSug="

LONG_AGO = 1_700_000_000
"""Seconds since the epoch: before any checkpoint that a test writes, whatever its clock says."""

_READ_BY_ALL = ("instance.lock", "once/first-steps")
_PEERS = ("identities/app.pem", "identities/trainer.pem")


def old_folder(place: Path) -> Path:
    """A copy of the folder at a place where there is nothing yet. Git keeps neither modes nor
    times: each file gets the mode it had, and later checkpoints were written later."""
    shutil.copytree(FOLDER, place)
    for path in place.rglob("*"):
        path.chmod(_mode_of(path, path.relative_to(place).as_posix()))
    for number, path in enumerate(sorted(place.rglob("epoch-*.pt"))):
        os.utime(path, (LONG_AGO + number, LONG_AGO + number))
    place.chmod(0o700)
    return place


def _mode_of(path: Path, name: str) -> int:
    if path.is_dir():
        return 0o700
    if name in _PEERS:
        return 0o400
    return 0o644 if name in _READ_BY_ALL or path.suffix == ".pt" else 0o600


def names_in(folder: Path) -> set[str]:
    """All files of a data folder, but its logs and its cache."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in ("logs", "cache")
    }
