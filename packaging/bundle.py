"""What the spec needs to know of the libraries that it puts together."""

import fnmatch
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import elf

from app.desktop.about import Component, gather
from app.machine import gpu_runtime as runtime

Entry = tuple[str, str, str]
"""Of PyInstaller: where it goes in the folder, where it comes from, its type."""

MODELS_KEPT = {"auto", "bloom", "encoder_decoder", "gemma3"}
"""Of transformers, besides the models that a spec may name: what its own tokenizers and peft import
wherever they are used."""

INDUCTOR_KEPT = {
    "analysis",
    "config",
    "cpp_builder",
    "cpu_vec_isa",
    "cudagraph_utils",
    "custom_graph_pass",
    "exc",
    "runtime",
    "standalone_compile",
    "test_operators",
    "utils",
    "_functionalize_collectives",
}
"""What torch reads of its compiler although nothing is compiled."""

DROPPED = (
    "torch/bin/protoc*",
    "torch/include/*",
    "torch/share/*",
    "*.dist-info/[!Me]*",  # all but METADATA and entry_points.txt; licences are in about.json
    "pytest*",
    "libcudart.so*",  # the build machine's
    "*libarrow_flight.so*",
    "*libarrow_python_flight.so*",
    "*libarrow_s3.so*",
    "pyarrow/libarrow_python*.so",  # further names of a file, each a copy
    "pyarrow/libarrow_python*.so.*.*",
    "pyarrow/include*",
    "pyarrow/src/*",
    "pyarrow/tests/*",
    "pyarrow/*.p[xy]*",
    "PySide6/Qt/qml/*",
)
"""Files that libraries bring along, and that nothing here opens."""

QT_FOLDERS = ("PySide6/Qt/plugins/", "PySide6/Qt/translations/")
QT_KEPT = (
    "*/translations/qtbase_zh_CN.qm",
    "*/iconengines/*",
    "*/imageformats/*q[js][pv]*g.*",  # JPEG and SVG; PNG is Qt's own
    "*/platforminputcontexts/*compose*",
    "*/platforminputcontexts/*ibus*",
    "*/platforms/*cocoa*",
    "*/platforms/*offscreen*",
    "*/platforms/*wayland*",
    "*/platforms/*xcb*",
    # not GTK's: it needs the system's GTK and would get our GLib; the portal has the same dialogs
    "*/platformthemes/*portal*",
    "*/styles/*",
    "*/wayland-decoration-client/*",
    "*/wayland-graphics-integration-client/*",
    "*/wayland-shell-integration/*xdg-shell*",
    "*/xcbglintegrations/*",
)
"""Of Qt's plugins and texts, those that a window of ours can need."""

ICU_DROPPED = ("brkitr", "curr", "lang", "rbnf", "region", "translit", "unit", "zone")
"""Of ICU's data, which Qt links to, what no window of ours shows or what Qt has its own tables of:
names of currencies, languages, regions, units and time zones, rules to break and to spell words."""

ICU_SOURCE = """\
.section .rodata
.balign 16
.globl {symbol}
.type {symbol}, @object
{symbol}: .incbin "{file}"
.size {symbol}, . - {symbol}
.section .note.GNU-stack, "", @progbits
"""

LOADED = ("libpython",)
"""Shared libraries that are loaded by their name."""

INFO_PLIST = {
    "NSHighResolutionCapable": True,
    "LSMinimumSystemVersion": "12.0",
    # hivemind forks after frameworks were loaded, which macOS takes for a mistake
    "LSEnvironment": {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "no_proxy": "*"},
    "CFBundleURLTypes": [{"CFBundleURLName": "CoTrain invite", "CFBundleURLSchemes": ["cotrain"]}],
    "CFBundleDocumentTypes": [
        {
            "CFBundleTypeName": "CoTrain invite",
            "CFBundleTypeExtensions": ["cotrain"],
            "CFBundleTypeRole": "Viewer",
        }
    ],
}


# --- what goes in


def others(package: str, *, keep: set[str]) -> list[str]:
    """The modules and packages directly in a package, without those to be kept."""
    found = {
        path.name.partition(".")[0]
        for path in _folder_of(package).iterdir()
        if path.is_dir() or path.suffix in {".py", ".so"}
    }
    return [f"{package}.{name}" for name in sorted(found - keep - {"__init__", "__pycache__"})]


def _folder_of(package: str) -> Path:
    """Without importing more than its root."""
    root, *rest = package.split(".")
    found = importlib.util.find_spec(root)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.joinpath(*rest)


def resources(root: Path) -> list[tuple[str, str]]:
    """Our own data: what the app reads at run time, not what the README shows."""
    wanted = [
        *root.glob("resources/icons/*.svg"),
        *root.glob("resources/page/*"),
        *root.glob("resources/themes/*"),
        *root.glob("resources/translations/*/LC_MESSAGES/*.mo"),
    ]
    if not any(path.suffix == ".mo" for path in wanted):
        raise SystemExit("the translations aren't compiled: run packaging/compile_translations.py")
    return [(str(path), str(path.parent.relative_to(root))) for path in wanted]


def gpu_runtime(root: Path) -> list[tuple[str, str]]:
    """The list of the GPU runtime's wheels, where it was made for this very PyTorch and Python."""
    file = root / "build" / runtime.LIST.name
    if file.exists():
        listed = runtime.GpuRuntime.from_json(file.read_text(encoding="utf-8"))
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        if (listed.torch, listed.python) == (metadata.version("torch").partition("+")[0], python):
            return [(str(file), "resources")]
    print("bundle: no GPU runtime will be offered; `make gpu-runtime` lists it", file=sys.stderr)
    return []


def check_torch() -> None:
    """The build for CUDA makes a package of some gigabytes, which nobody asked for by mistake."""
    if any(each.name.lower().startswith("nvidia-cu") for each in metadata.distributions()):
        raise SystemExit(
            "PyTorch in this environment is the build for CUDA. The package is made with the one"
            " for the CPU: `make clean package TORCH_INDEX=...` with an index that has it."
        )


def p2pd() -> str:
    """Hivemind's network daemon: a program, which must stay executable."""
    return str(_folder_of("hivemind") / "hivemind_cli" / "p2pd")


def kept(entries: list[Entry]) -> list[Entry]:
    """Without what `DROPPED` names, and what `QT_KEPT` doesn't."""
    return [entry for entry in entries if not _is_dropped(entry[0])]


def _is_dropped(target: str) -> bool:
    patterns = QT_KEPT if target.startswith(QT_FOLDERS) else DROPPED
    return any(fnmatch.fnmatch(target, each) for each in patterns) is (patterns is DROPPED)


def needed(binaries: list[Entry]) -> list[Entry]:
    """Without the shared libraries that only what was dropped is linked to."""
    if sys.platform != "linux":
        return binaries
    found = elf.links(Path(source) for _, source, kind in binaries if kind != "SYMLINK")
    links = {str(path): names for path, names in found.items()}
    while True:
        wanted = set().union(*(links.get(source, ()) for _, source, _ in binaries))
        left = [each for each in binaries if not _is_shared(each[0]) or _name(each[0]) in wanted]
        if len(left) == len(binaries):
            return left
        binaries = left


def _is_shared(target: str) -> bool:
    """A library of the system's, or of Qt's, which is there only because others link to it."""
    folder, _, name = target.rpartition("/")
    return folder in {"", "PySide6/Qt/lib"} and ".so." in name and not name.startswith(LOADED)


def _name(target: str) -> str:
    return target.rpartition("/")[2]


# --- what it says of itself


def about(root: Path, binaries: list[Entry]) -> str:
    """Write what the app says of itself, and of all parts in it; returns the file."""
    found = gather()
    parts = (*map(_with_text, found.parts), *_system_parts(binaries))
    file = root / "build" / "about.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(replace(found, parts=parts).to_json(), encoding="utf-8")
    return str(file)


_COMMON = Path("/usr/share/common-licenses")
_COMMON_TEXTS = {"LGPL-3.0": "LGPL-3", "GPL-3.0": "GPL-3", "Apache": "Apache-2.0"}


def _with_text(part: Component) -> Component:
    """Some wheels name their licence and forget its text."""
    if part.text:
        return part
    texts = [
        (_COMMON / file).read_text(encoding="utf-8")
        for name, file in _COMMON_TEXTS.items()
        if name in part.licence and (_COMMON / file).exists()
    ]
    return replace(part, text="\n\n".join(texts))


def _system_parts(binaries: list[Entry]) -> Iterator[Component]:
    """The libraries of the build machine's own that are inside, by their Debian packages."""
    if not shutil.which("dpkg-query"):
        return
    prefixes = (sys.prefix, sys.base_prefix)
    files = {source for _, source, kind in binaries if kind != "SYMLINK"}
    foreign = (file for file in files if not file.startswith(prefixes))
    for package in sorted(set(map(_debian_package, foreign)) - {""}):
        name = package.partition(":")[0]
        copyright_ = Path("/usr/share/doc") / name / "copyright"
        yield Component(
            name=f"{name} (Debian)",
            version=_output("dpkg-query", "-W", "-f", "${Version}", package),
            licence="",
            text=copyright_.read_text(encoding="utf-8", errors="replace"),
        )


def _debian_package(file: str) -> str:
    """Packages may still say /lib for what is in /usr/lib."""
    for name in (str(Path(file).resolve()), file, file.removeprefix("/usr")):
        if owner := _output("dpkg-query", "-S", name):
            return owner.partition(": ")[0]
    return ""


def _output(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


# --- afterwards


def tidy(folder: Path) -> None:
    """Take away the links to what was dropped, the symbol tables, which only a debugger reads (some
    140 MB), the copies of libraries that several wheels bring along, and most of ICU's data."""
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()
    if sys.platform == "linux" and (tool := shutil.which("strip")):
        for path in folder.rglob("*.so*"):
            if not path.is_symlink():
                subprocess.run([tool, "--strip-unneeded", str(path)], check=True)
        for library in folder.glob("_internal/PySide6/Qt/lib/libicudata.so.*"):
            _slice_icu(library)
    _link_copies(folder)


def _link_copies(folder: Path) -> None:
    """Auditwheel names a library by what is in it, so copies have the same name."""
    first: dict[str, Path] = {}
    for path in sorted(folder.glob("_internal/*.libs/*.so*")):
        if path.is_symlink():
            continue
        other = first.setdefault(path.name, path)
        if other is not path and other.read_bytes() == path.read_bytes():
            path.unlink()
            path.symlink_to(os.path.relpath(other, path.parent))


def _slice_icu(library: Path) -> None:
    """Make ICU's library of data anew with what Qt looks up in it, as ICU's own tool does."""
    if not (shutil.which("icupkg") and shutil.which("gcc") and shutil.which("objcopy")):
        print("bundle: ICU's data stay whole; icu-devtools and gcc cut them", file=sys.stderr)
        return
    version = library.suffix[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / f"icudt{version}l.dat"  # its items begin with the file's name
        kept = folder / "kept" / data.name
        kept.parent.mkdir()
        dropped, source = folder / "dropped.txt", folder / "data.s"
        _run("objcopy", "-O", "binary", "--only-section=.rodata", library, data)
        items = _run("icupkg", "-l", data).split()
        unneeded = [item for item in items if item.partition("/")[0] in ICU_DROPPED]
        dropped.write_text("\n".join(unneeded), encoding="utf-8")
        _run("icupkg", "-r", dropped, data, kept)
        source.write_text(
            ICU_SOURCE.format(symbol=f"icudt{version}_dat", file=kept), encoding="utf-8"
        )
        _run("gcc", "-shared", "-nostdlib", f"-Wl,-soname,{library.name}", "-o", library, source)


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def icon(root: Path) -> str:
    """The app's icon in macOS's format."""
    from PySide6.QtGui import QImage

    target = root / "build" / "app.icns"
    target.parent.mkdir(exist_ok=True)
    drawing = QImage(str(root / "resources" / "icons" / "app.svg"))
    drawing.scaled(1024, 1024).save(str(target))
    return str(target)
