"""The app's version, the commit that it was built from, and the licences of all its components.

A packaged app reads them from a file that was written at build time. In a checkout they are
collected from the metadata of the installed distributions.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from app import __version__
from app.common.paths import RESOURCES, ROOT

BUILT = RESOURCES / "about.json"
"""The file written at build time; only a packaged app has it."""

DISTRIBUTION = "cotrain-contributor"

_LICENCE_FILE = re.compile(r"(?i)(^|/)(licen[cs]e|copying|notice|authors)[^/]*$")


@dataclass(frozen=True, kw_only=True)
class Component:
    """A program or library that is part of the app, or the app itself."""

    name: str
    version: str
    licence: str
    """The licence's name; "" when only the text tells it."""

    text: str
    """The licence's full text, with notices and authors."""


@dataclass(frozen=True, kw_only=True)
class About:
    """The app's version and components."""

    version: str
    commit: str
    """Git's hash of the sources, ending in ``-dirty`` if they were changed; "" if unknown."""

    parts: tuple[Component, ...]

    def to_json(self) -> str:
        """Encode for `from_json`."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "About":
        """Decode the output of `to_json`."""
        content = json.loads(text)
        return cls(**content | {"parts": tuple(Component(**part) for part in content["parts"])})


def load() -> About:
    """Read the file from build time, or else `gather`, which takes 0.5 s."""
    return About.from_json(BUILT.read_text(encoding="utf-8")) if BUILT.exists() else gather()


def gather() -> About:
    """Collect the app, Python, and every installed distribution that the app needs."""
    parts = [_own_component(), _python(), *map(_component, _dependencies())]
    return About(
        version=__version__,
        commit=commit(),
        parts=tuple(sorted(parts, key=lambda part: part.name.lower())),
    )


def commit() -> str:
    """The commit of this checkout; "" without a checkout or without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _own_component() -> Component:
    licence = ROOT / "LICENSE"
    text = licence.read_text(encoding="utf-8") if licence.exists() else ""
    return Component(name=DISTRIBUTION, version=__version__, licence="Apache-2.0", text=text)


def _python() -> Component:
    version = ".".join(map(str, sys.version_info[:3]))
    library = Path(json.__file__).parent.parent
    candidates = (library / "LICENSE.txt", Path("/usr/share/doc/python3/copyright"))
    text = next((_read(path) for path in candidates if path.exists()), "")
    return Component(name="Python", version=version, licence="PSF-2.0", text=text)


def _dependencies() -> Iterator[metadata.Distribution]:
    """Each distribution that ours needs, directly or indirectly, once; without ours."""
    from packaging.requirements import Requirement

    waiting, seen = [DISTRIBUTION], {DISTRIBUTION}
    while waiting:
        try:
            found = metadata.distribution(waiting.pop())
        except metadata.PackageNotFoundError:  # not installed, though no marker excludes it here
            continue
        if _normalized(found.name) != DISTRIBUTION:
            yield found
        for requirement in map(Requirement, found.requires or ()):
            name = _normalized(requirement.name)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and name not in seen:
                seen.add(name)
                waiting.append(name)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _component(found: metadata.Distribution) -> Component:
    # `found.files` would create an object for each of PyTorch's 15,000 files
    files = (line.partition(",")[0] for line in (found.read_text("RECORD") or "").splitlines())
    texts = [
        _read(Path(str(found.locate_file(file))))
        for file in files
        if ".dist-info/" in file and _LICENCE_FILE.search(file)
    ]
    return Component(
        name=found.name,
        version=found.version,
        licence=_licence_name(found),
        text="\n\n".join(text for text in texts if text),
    )


def _licence_name(found: metadata.Distribution) -> str:
    """The licence expression of new metadata, else the classifiers, else the free text's line 1."""
    expression, *_rest = _fields(found, "License-Expression") or [""]
    classifiers = [each for each in _fields(found, "Classifier") if each.startswith("License :: ")]
    names = ", ".join(each.rpartition(" :: ")[2] for each in classifiers)
    free, *_rest = _fields(found, "License") or [""]
    return expression or names or free.strip().partition("\n")[0]


def _fields(found: metadata.Distribution, name: str) -> list[str]:
    return found.metadata.get_all(name) or []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
