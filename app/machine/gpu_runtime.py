"""The GPU runtime: PyTorch with CUDA, fetched once by a packaged app whose user has a GPU.

The download everybody gets holds PyTorch for the CPU: with CUDA it would be ten times as large,
more than most places that publish files take, and useless to most. So the app carries a list, made
when it was built, of the very wheels (address, size, sha256) that its PyTorch is as a CUDA build:
the same version for the same Python. They are unpacked into a folder of their own, which the
trainer, a process of its own, looks into first. The window's process never does, nor is anything
of the app replaced: deleting the folder is all that it takes to go back.

From a checkout there is no list: PyTorch is what pip installed.
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
"""Only a packaged app has it."""

VARIABLE = "COTRAIN_GPU_RUNTIME"
"""Tells the trainer the folder."""

OnFetched = Callable[[int], None]
"""Told the bytes that are here of all; what it raises ends the fetching."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One file of the runtime. size: bytes to download."""

    name: str
    url: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class GpuRuntime:
    """cuda: the version that the driver must know at least. unpacked: bytes on the disk. torch,
    python: which versions it is for."""

    torch: str
    python: str
    cuda: tuple[int, int]
    unpacked: int
    wheels: tuple[Wheel, ...]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(wheel.size for wheel in self.wheels)

    @property
    def id(self) -> str:
        """Another one for each other set of files."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "GpuRuntime":
        """The way back."""
        content = json.loads(text)
        wheels = tuple(Wheel(**wheel) for wheel in content["wheels"])
        return cls(**content | {"wheels": wheels, "cuda": tuple(content["cuda"])})


def offered() -> GpuRuntime | None:
    """What this app can fetch; None from a checkout."""
    return GpuRuntime.from_json(LIST.read_text(encoding="utf-8")) if LIST.exists() else None


# --- what is here


def installed(folders: Folders) -> Path | None:
    """Where the runtime of this very version is, None where there is none."""
    runtime = offered()
    if runtime is None:
        return None
    place = folders.gpu_runtimes / runtime.id
    return place if place.is_dir() else None


def tell_trainers(folders: Folders) -> None:
    """Let trainers that are started from now on use the runtime, where it is installed."""
    if (place := installed(folders)) is not None:
        os.environ[VARIABLE] = str(place)


def use() -> None:
    """In the trainer, before PyTorch is imported: look into the runtime first."""
    if place := os.environ.get(VARIABLE):
        sys.path.insert(0, place)


# --- fetching it


def check_driver(runtime: GpuRuntime, cuda: tuple[int, int] | None) -> None:
    """Raises `GpuRuntimeError` where this machine couldn't use it. cuda: see `driver_cuda`."""
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
    """The CUDA version that the installed driver knows; None without one."""
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
    """Download, verify and unpack it; what broke off is continued. Takes minutes: in a thread.

    Raises `GpuRuntimeError`, and what ``progress`` raises.
    """
    root, place = folders.gpu_runtimes, folders.gpu_runtimes / runtime.id
    downloads, unpacked = root / "downloads", root / f"{runtime.id}.part"
    try:
        downloads.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_room(runtime, downloads)
        _download(runtime, downloads, progress, context)
        shutil.rmtree(unpacked, ignore_errors=True)
        for wheel in runtime.wheels:
            _unpack(downloads / wheel.sha256, unpacked)
        unpacked.rename(place)
        _forget_others(root, place)
    except (OSError, zipfile.BadZipFile) as error:
        raise GpuRuntimeError(
            _("the GPU runtime can't be kept: {reason}.").format(reason=error),
            field=str(root),
            remedy=_("Check that the disk isn't full and that you may write there."),
        ) from error
    return place


def _check_room(runtime: GpuRuntime, downloads: Path) -> None:
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
            if not target.exists():  # it was verified before it got this name
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
                str(error), remedy=_("Check your network, then try again: it goes on from there.")
            ) from error
        before += wheel.size
        progress(before)


def _add(before: int, progress: OnFetched, size: int) -> None:
    progress(before + size)


def _unpack(wheel: Path, target: Path) -> None:
    """As pip would, but for programs, which nobody starts from here; modes included."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, target))
            if (mode := entry.external_attr >> 16) and path.is_file():
                path.chmod(mode & 0o755 | 0o600)


def _forget_others(root: Path, place: Path) -> None:
    """Of earlier versions, and what was needed on the way."""
    for path in root.iterdir():
        if path != place:
            shutil.rmtree(path)
