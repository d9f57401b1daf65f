"""The GPU runtime: PyTorch with CUDA, which a packaged app fetches once on request.

The packaged app includes PyTorch for the CPU only: with CUDA it would be ten times as large, more
than most file hosts accept, and useless to most users. Instead it includes a list, made at build
time, of the wheels (URL, size, SHA-256) of the same PyTorch version for the same Python, built for
CUDA. The wheels are unpacked into a folder of their own, which the trainer process puts first in
``sys.path``. The window's process never uses that folder and nothing of the app is replaced, so
deleting the folder restores the CPU build.

A checkout has no such list: it uses the PyTorch that pip installed.
"""

import hashlib
import json
import os
import shutil
import ssl
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from app.common.errors import GpuRuntimeError
from app.common.i18n import _
from app.common.paths import RESOURCES, Folders

LIST = RESOURCES / "gpu-runtime.json"
"""The list of wheels; only a packaged app has this file."""

VARIABLE = "COTRAIN_GPU_RUNTIME"
"""Environment variable that gives the trainer the folder of the runtime."""

OnFetched = Callable[[int], None]
"""Called with the bytes downloaded so far; an exception that it raises ends `fetch`."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One file of the runtime."""

    name: str
    url: str
    sha256: str
    size: int
    """Bytes to download."""


@dataclass(frozen=True, kw_only=True)
class GpuRuntime:
    """The wheels that make up one version of PyTorch with CUDA."""

    torch: str
    """Its PyTorch version."""

    python: str
    """The Python version that it is built for."""

    cuda: tuple[int, int]
    """The oldest CUDA version that the driver must support, such as (12, 6)."""

    unpacked: int
    """Bytes on the disk after unpacking."""

    wheels: tuple[Wheel, ...]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(wheel.size for wheel in self.wheels)

    @property
    def id(self) -> str:
        """A hash of the list, which names the runtime's folder."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Encode for `from_json`."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "GpuRuntime":
        """Decode the output of `to_json`."""
        content = json.loads(text)
        wheels = tuple(Wheel(**wheel) for wheel in content["wheels"])
        return cls(**content | {"wheels": wheels, "cuda": tuple(content["cuda"])})


def offered() -> GpuRuntime | None:
    """The runtime that this app can fetch; None in a checkout."""
    return GpuRuntime.from_json(LIST.read_text(encoding="utf-8")) if LIST.exists() else None


# --- the installed runtime


def installed(folders: Folders) -> Path | None:
    """The folder of the runtime for this version of the app; None when it isn't installed."""
    runtime = offered()
    if runtime is None:
        return None
    place = folders.gpu_runtimes / runtime.id
    return place if place.is_dir() else None


def tell_trainers(folders: Folders) -> None:
    """Make trainers that are started from now on use the runtime, if it is installed."""
    if (place := installed(folders)) is not None:
        os.environ[VARIABLE] = str(place)


def use() -> None:
    """Put the runtime first in ``sys.path``: called in the trainer before PyTorch is imported."""
    if place := os.environ.get(VARIABLE):
        sys.path.insert(0, place)


# --- fetching it


def check_driver(runtime: GpuRuntime, cuda: tuple[int, int] | None) -> None:
    """Raise `GpuRuntimeError` when the driver is missing or too old. cuda: see `driver_cuda`."""
    wanted = ".".join(map(str, runtime.cuda))
    if cuda is None:
        raise GpuRuntimeError(
            _("no NVIDIA driver was found, and this runtime is for NVIDIA's GPUs."),
            remedy=_("Install the driver for your GPU, then try again."),
        )
    if cuda < runtime.cuda:
        raise GpuRuntimeError(
            _("the NVIDIA driver knows CUDA {found}, and {wanted} is needed.").format(
                found=".".join(map(str, cuda)), wanted=wanted
            ),
            remedy=_("Update the driver, then try again."),
        )


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA version that the NVIDIA driver supports; None without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            version = int(pynvml.nvmlSystemGetCudaDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return version // 1000, version % 1000 // 10


def fetch(
    runtime: GpuRuntime,
    *,
    folders: Folders,
    progress: OnFetched,
    context: ssl.SSLContext | None = None,
) -> Path:
    """Download, verify and unpack the runtime; returns its folder.

    Takes minutes, so call it in a thread. An interrupted download is resumed. Raises
    `GpuRuntimeError`, and whatever ``progress`` raises.
    """
    root, place = folders.gpu_runtimes, folders.gpu_runtimes / runtime.id
    downloads, unpacked = root / "downloads", root / f"{runtime.id}.part"
    try:
        downloads.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_disk_space(runtime, downloads)
        _download(runtime, downloads, progress, context)
        shutil.rmtree(unpacked, ignore_errors=True)
        for wheel in runtime.wheels:
            _unpack(downloads / wheel.sha256, unpacked)
        unpacked.rename(place)
        _delete_others(root, place)
    except (OSError, zipfile.BadZipFile) as error:
        raise GpuRuntimeError(
            _("the GPU runtime can't be kept: {reason}.").format(reason=error),
            field=str(root),
            remedy=_("Check that the disk isn't full and that you may write there."),
        ) from error
    return place


def _check_disk_space(runtime: GpuRuntime, downloads: Path) -> None:
    have = sum(path.stat().st_size for path in downloads.iterdir())
    needed, free = runtime.size - have + runtime.unpacked, shutil.disk_usage(downloads).free
    if needed > free:
        raise GpuRuntimeError(
            _(
                "the GPU runtime needs {needed:.1f} GB of disk for a while; {free:.1f} are free."
            ).format(needed=needed / 1e9, free=free / 1e9),
            field=str(downloads.parent),
            remedy=_("Make room on the disk."),
        )


def _download(
    runtime: GpuRuntime, downloads: Path, progress: OnFetched, context: ssl.SSLContext | None
) -> None:
    from app.common.download import DownloadError, download

    before = 0
    for wheel in runtime.wheels:
        target = downloads / wheel.sha256
        part = target.with_suffix(".part")
        try:
            if not target.exists():  # a file with this name was verified already
                download(
                    wheel.url,
                    sha256=wheel.sha256,
                    part=part,
                    limit=wheel.size,
                    context=context,
                    progress=partial(_add, before, progress),
                )
                part.rename(target)
        except DownloadError as error:
            raise GpuRuntimeError(
                str(error), remedy=_("Check your network, then try again: the download resumes.")
            ) from error
        before += wheel.size
        progress(before)


def _add(before: int, progress: OnFetched, size: int, _whole: int | None) -> None:
    progress(before + size)


def _unpack(wheel: Path, target: Path) -> None:
    """Unpack a wheel with its file modes. Console scripts aren't made: none is needed here."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, target))
            if (mode := entry.external_attr >> 16) and path.is_file():
                path.chmod(mode & 0o755 | 0o600)


def _delete_others(root: Path, place: Path) -> None:
    """Delete the runtimes of earlier versions and the downloaded wheels."""
    for path in root.iterdir():
        if path != place:
            shutil.rmtree(path)
