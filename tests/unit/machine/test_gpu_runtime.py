"""The GPU runtime: fetched from a real https server, verified, unpacked, seen by the trainer."""

import functools
import hashlib
import http.server
import io
import os
import ssl
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from app.common.errors import GpuRuntimeError
from app.common.paths import Folders
from app.machine import gpu_runtime as runtime
from app.machine.gpu_runtime import GpuRuntime, Wheel, check_driver, fetch


class ForeseenError(Exception):
    """Raised by a progress callback to end the download."""


def wheel(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | (0o755 if "bin" in name else 0o644)) << 16
            archive.writestr(entry, text)
    return content.getvalue()


WHEELS = {
    "torch.whl": wheel({"torch/__init__.py": "version = 'of the GPU'\n"}),
    "cuda.whl": wheel({"nvidia/libcuda.so": "x" * 3000, "torch/bin/manager": "#!/bin/sh\n"}),
}


@pytest.fixture
def trust() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(trust: trustme.CA) -> ssl.SSLContext:
    made = ssl.create_default_context()
    trust.configure_trust(made)
    return made


@pytest.fixture
def server(tmp_path: Path, trust: trustme.CA) -> Iterator[str]:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name, content in WHEELS.items():
        (shelf / name).write_bytes(content)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(shelf))
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    running.daemon_threads = False
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.issue_cert("127.0.0.1").configure_cert(own)
    running.socket = own.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def listed(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuRuntime:
    """A packaged app's list of the wheels on the test server."""
    wheels = tuple(
        Wheel(
            name=name,
            url=f"{server}/{name}",
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )
        for name, content in WHEELS.items()
    )
    made = GpuRuntime(torch="2.13.0", python="3.11", cuda=(13, 0), unpacked=4000, wheels=wheels)
    file = tmp_path / "gpu-runtime.json"
    file.write_text(made.to_json())
    monkeypatch.setattr(runtime, "LIST", file)
    assert runtime.offered() == made
    return made


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders.under(tmp_path / "data")


def test_a_checkout_offers_no_runtime(folders: Folders) -> None:
    assert runtime.offered() is None
    assert runtime.installed(folders) is None


def test_runtime_is_fetched_unpacked_and_installed(
    listed: GpuRuntime, folders: Folders, context: ssl.SSLContext
) -> None:
    assert runtime.installed(folders) is None
    seen: list[int] = []
    place = fetch(listed, folders=folders, progress=seen.append, context=context)
    assert runtime.installed(folders) == place
    assert (seen == sorted(seen), seen[-1]) == (True, listed.size)
    assert (place / "torch/__init__.py").read_text() == "version = 'of the GPU'\n"
    assert os.access(place / "torch/bin/manager", os.X_OK)
    assert not os.access(place / "torch/__init__.py", os.X_OK)
    assert list(folders.gpu_runtimes.iterdir()) == [place]  # the downloaded wheels are deleted


def test_trainer_imports_the_runtime_first(
    listed: GpuRuntime,
    folders: Folders,
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch(listed, folders=folders, progress=lambda _: None, context=context)
    monkeypatch.setenv(runtime.VARIABLE, "")
    runtime.tell_trainers(folders)
    code = (
        "from app.machine import gpu_runtime; gpu_runtime.use(); import torch; print(torch.version)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert found.stdout == "of the GPU\n"


def test_interrupted_download_is_resumed(
    listed: GpuRuntime, folders: Folders, context: ssl.SSLContext
) -> None:
    def stop(size: int) -> None:
        if size > len(WHEELS["torch.whl"]):
            raise ForeseenError

    with pytest.raises(ForeseenError):
        fetch(listed, folders=folders, progress=stop, context=context)
    assert runtime.installed(folders) is None
    assert len(list((folders.gpu_runtimes / "downloads").iterdir())) == 2  # a whole, a part
    fetch(listed, folders=folders, progress=lambda _: None, context=context)
    assert runtime.installed(folders) is not None


def test_wrong_hash_is_refused_and_the_file_deleted(
    listed: GpuRuntime, folders: Folders, context: ssl.SSLContext, tmp_path: Path
) -> None:
    changed = WHEELS["cuda.whl"][:-1] + b"!"
    (tmp_path / "shelf" / "cuda.whl").write_bytes(changed)
    with pytest.raises(GpuRuntimeError, match="unexpected content"):
        fetch(listed, folders=folders, progress=lambda _: None, context=context)
    assert runtime.installed(folders) is None


def test_runtime_of_an_earlier_version_is_deleted(
    listed: GpuRuntime, folders: Folders, context: ssl.SSLContext
) -> None:
    old = folders.gpu_runtimes / "0123456789abcdef"
    old.mkdir(parents=True)
    assert runtime.installed(folders) is None
    fetch(listed, folders=folders, progress=lambda _: None, context=context)
    assert not old.exists()


def test_full_disk_is_reported_before_the_download(listed: GpuRuntime, folders: Folders) -> None:
    large = GpuRuntime(
        torch="2", python="3.11", cuda=(13, 0), unpacked=10**18, wheels=listed.wheels
    )
    with pytest.raises(GpuRuntimeError, match="needs 1000000000"):
        fetch(large, folders=folders, progress=lambda _: None)


@pytest.mark.parametrize(
    ("cuda", "word"), [(None, "no NVIDIA driver"), ((12, 8), "12.8"), ((13, 0), ""), ((13, 1), "")]
)
def test_missing_or_old_driver_is_explained(
    listed: GpuRuntime, cuda: tuple[int, int] | None, word: str
) -> None:
    if not word:
        check_driver(listed, cuda)
        return
    with pytest.raises(GpuRuntimeError, match=word):
        check_driver(listed, cuda)
