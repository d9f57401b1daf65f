"""Write build/gpu-runtime.json: the wheels that a packaged app fetches for a GPU.

`make gpu-runtime` runs it, before `make package`. pip says which wheels the CUDA build of the
installed version of PyTorch consists of; it has to download them all for that, some gigabytes.
Triton is left out: it compiles kernels, which nothing here asks for.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

from app.machine.gpu_runtime import GpuRuntime, Wheel

TARGET = Path(__file__).resolve().parents[1] / "build" / "gpu-runtime.json"
WANTED = re.compile(r"torch|nvidia-.+|cuda-(bindings|pathfinder)")

# Without this machine's own places to find packages, one of which may have a CPU build.
PLAIN = os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_CONSTRAINT": ""}


def pip(*arguments: str) -> None:
    """Run pip as if nobody had configured it."""
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, env=PLAIN)


def resolved(version: str, folder: Path) -> list[dict[str, Any]]:
    """What pip would install for a version of PyTorch."""
    report = folder / "report.json"
    options = ("--dry-run", "--ignore-installed", "--only-binary", ":all:", "--report", str(report))
    pip("install", *options, f"torch=={version}")
    found: list[dict[str, Any]] = json.loads(report.read_bytes())["install"]
    return [each for each in found if WANTED.fullmatch(each["metadata"]["name"].lower())]


def main() -> None:
    """Ask pip, measure, write."""
    version = metadata.version("torch").partition("+")[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = resolved(version, folder)
        urls = [each["download_info"]["url"] for each in found]
        pip("download", "--no-deps", "--dest", str(folder), *urls)
        files = [folder / url.rpartition("/")[2] for url in urls]
        runtime = GpuRuntime(
            torch=version,
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            cuda=cuda_of(found),
            unpacked=sum(map(unpacked_size, files)),
            wheels=tuple(map(wheel_of, found, files)),
        )
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(runtime.to_json() + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {runtime.size / 1e9:.2f} GB, unpacked {runtime.unpacked / 1e9:.2f} GB")


def cuda_of(found: list[dict[str, Any]]) -> tuple[int, int]:
    """The version that the CUDA runtime among the wheels has."""
    versions = {each["metadata"]["name"].lower(): each["metadata"]["version"] for each in found}
    major, minor, *_ = versions["nvidia-cuda-runtime"].split(".")
    return int(major), int(minor)


def unpacked_size(file: Path) -> int:
    """Bytes that a wheel takes on the disk."""
    with zipfile.ZipFile(file) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def wheel_of(found: dict[str, Any], file: Path) -> Wheel:
    """What the app must know to fetch it."""
    origin = found["download_info"]
    return Wheel(
        name=found["metadata"]["name"],
        url=origin["url"],
        sha256=origin["archive_info"]["hashes"]["sha256"],
        size=file.stat().st_size,
    )


if __name__ == "__main__":
    main()
