"""The files and folders that a trainer needs for an order of the app."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from app.common.paths import RESOURCES, ROOT
from app.generation_messages import OpenModel
from app.protocol import Start
from app.spec.schema import SwarmSpec
from app.spec.sources.data import FileData, FileTokenizer, sources_of
from app.takeout.messages import FetchWeights
from app.trainer.confinement.environment import hub_home

log = logging.getLogger(__name__)

_SYSTEM = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr", "/etc", "/opt", "/proc", "/sys"),
    *("/nix/store", "/gnu/store", "/run/current-system", "/run/opengl-driver", "/app"),
    *("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/run/connman"),
    *("/var/lib/ca-certificates", "/var/lib/snapd/lib", "/snap"),
)
"""Programs, libraries, certificates, the resolver's settings: nothing of a user's."""

_LIBRARY_VARIABLES = (
    *("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "ROCM_HOME", "ROCM_PATH", "ICU_DATA"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
"""Variables with paths of libraries or certificates that may lie in the user's home."""

_DEVICES = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"),
    *("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/dxg"),  # NVIDIA, also on Jetson and WSL
    *("/dev/dri", "/dev/kfd", "/dev/accel"),
)
"""Patterns of the devices that Python, torch and the GPUs' drivers open."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """What a trainer may reach. Folders stand for all that is below them."""

    programs: tuple[Path, ...]
    """Read, and run as a program."""

    inputs: tuple[Path, ...]
    """Read."""

    outputs: tuple[Path, ...]
    """Read, written, made and deleted."""

    devices: tuple[Path, ...]
    """Read, written and controlled (``ioctl``)."""


def places_for(order: Start, spec: SwarmSpec) -> Places:
    """The places for an order; makes the folders and files that are to be written and don't exist.

    Raises `OSError` for a folder that can't be made.
    """
    return _with_programs(
        inputs=(Path(order.identity_file), *_rosters(order), *_data(spec)),
        outputs=_outputs(order),
    )


def places_to_read(order: OpenModel, spec: SwarmSpec) -> Places:
    """The places for a process that reads checkpoints; makes the cache's folder.

    Raises `OSError` for a folder that can't be made.
    """
    cache = Path(order.cache_dir)
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _with_programs(
        inputs=(*map(Path, order.checkpoint_dirs), *_files_of(_tokenizer_paths(spec))),
        outputs=(cache, *_temporary()),
    )


def places_to_fetch(order: FetchWeights, spec: SwarmSpec) -> Places:
    """The places for a process that downloads weights; makes the folders that it writes to.

    Raises `OSError` for a folder that can't be made.
    """
    folders = (Path(order.cache_dir), Path(order.folder))
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity = (Path(order.identity_file),) if order.identity_file else ()
    sign_in = (hub_home(),) if order.hub_sign_in else ()
    return _with_programs(
        inputs=(*identity, *_rosters(order), *_files_of(_tokenizer_paths(spec))),
        outputs=(*folders, *sign_in, *_temporary()),
    )


def _with_programs(*, inputs: Iterable[Path], outputs: Iterable[Path]) -> Places:
    return Places(
        programs=_existing((*map(Path, _SYSTEM), *filter(_spares_home, _programs()))),
        inputs=_existing(inputs),
        outputs=_existing(outputs),
        devices=tuple(Path(path) for pattern in _DEVICES for path in sorted(glob(pattern))),  # noqa: PTH207
    )


def _programs() -> Iterator[Path]:
    """Python, this app, and the libraries that they load."""
    yield from map(Path, (sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix))
    yield Path(sys.executable).resolve()
    if (bundle := getattr(sys, "_MEIPASS", None)) is not None:
        yield Path(bundle)
    else:
        yield from (ROOT / "app", ROOT / "main.py")
    yield RESOURCES
    yield from (Path(entry) for entry in sys.path if entry)
    for name in _LIBRARY_VARIABLES:
        yield from (Path(entry) for entry in os.environ.get(name, "").split(":") if entry)


def _rosters(order: Start | FetchWeights) -> Iterator[Path]:
    """The folder of the rosters: a rule for the file would end when a newer one replaces it."""
    if order.roster_file:
        folder = Path(order.roster_file).parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield folder


def _data(spec: SwarmSpec) -> Iterator[Path]:
    """The files that a spec names on this machine. What is no regular file is refused elsewhere."""
    names: list[str] = []
    for source in sources_of(spec.data).values():
        if isinstance(source, FileData):
            names += source.paths
    yield from _files_of((*names, *_tokenizer_paths(spec)))


def _tokenizer_paths(spec: SwarmSpec) -> tuple[str, ...]:
    tokenizer = spec.data.tokenizer
    return (tokenizer.path,) if isinstance(tokenizer, FileTokenizer) else ()


def _files_of(names: Iterable[str]) -> Iterator[Path]:
    yield from (path for name in names if (path := Path(name).expanduser()).is_file())


def _outputs(order: Start) -> Iterator[Path]:
    for folder in (Path(order.checkpoint_dir), Path(order.cache_dir)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield folder
    if order.tuning_file:
        tuning = Path(order.tuning_file)
        tuning.touch(mode=0o600)  # the rule is for the file, since its folder holds private ones
        yield tuning
    if order.hub_sign_in:
        yield hub_home()
    yield from _temporary()


def _temporary() -> tuple[Path, ...]:
    # hivemind's sockets lie in /tmp, whatever the folder for temporary files is
    return Path("/tmp"), Path(tempfile.gettempdir()), Path("/dev/shm")  # noqa: S108


def _existing(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(path for path in paths if path.exists()))


def _spares_home(path: Path) -> bool:
    """Whether a folder leaves the user's home closed: ``PYTHONPATH`` may name the home itself."""
    try:
        home = Path.home().resolve()
    except RuntimeError:  # the system knows no home of this user
        return True
    if home.is_relative_to(path.resolve()):
        log.warning("%s stays closed to the trainer, since the home folder lies in it", path)
        return False
    return True
