"""What this app is made of: its version, the commit it was built from, the licences of all parts.

A packaged app carries the answer in a file, written when it was built; in a checkout it is put
together from the metadata of what is installed.
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
"""Only a packaged app has it."""

DISTRIBUTION = "cotrain-contributor"

_LICENCE_FILE = re.compile(r"(?i)(^|/)(licen[cs]e|copying|notice|authors)[^/]*$")


@dataclass(frozen=True, kw_only=True)
class Component:
    """Somebody's work inside this app. licence: its name, or "" where only the text says it."""

    name: str
    version: str
    licence: str
    text: str


@dataclass(frozen=True, kw_only=True)
class About:
    """commit: of the sources, with ``-dirty`` where they were changed since; "" if unknown."""

    version: str
    commit: str
    parts: tuple[Component, ...]

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "About":
        """The way back."""
        content = json.loads(text)
        return cls(**content | {"parts": tuple(Component(**part) for part in content["parts"])})


def load() -> About:
    """What was written at build time, else what is found here. It takes 0.5 s."""
    return About.from_json(BUILT.read_text(encoding="utf-8")) if BUILT.exists() else gather()


def gather() -> About:
    """Ourselves, Python, and every distribution that we need, as they are installed here."""
    parts = [_own_part(), _python(), *map(_part, _needed())]
    return About(
        version=__version__,
        commit=commit(),
        parts=tuple(sorted(parts, key=lambda part: part.name.lower())),
    )


def commit() -> str:
    """The commit of this checkout; "" where there is none, or no git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _own_part() -> Component:
    licence = ROOT / "LICENSE"
    text = licence.read_text(encoding="utf-8") if licence.exists() else ""
    return Component(name=DISTRIBUTION, version=__version__, licence="Apache-2.0", text=text)


def _python() -> Component:
    version = ".".join(map(str, sys.version_info[:3]))
    library = Path(json.__file__).parent.parent
    candidates = (library / "LICENSE.txt", Path("/usr/share/doc/python3/copyright"))
    text = next((_read(path) for path in candidates if path.exists()), "")
    return Component(name="Python", version=version, licence="PSF-2.0", text=text)


def _needed() -> Iterator[metadata.Distribution]:
    """The distributions that ours needs, and those that they need, each once, ours not."""
    from packaging.requirements import Requirement

    waiting, seen = [DISTRIBUTION], {DISTRIBUTION}
    while waiting:
        try:
            found = metadata.distribution(waiting.pop())
        except metadata.PackageNotFoundError:  # one that this platform's marker didn't rule out
            continue
        if _normal(found.name) != DISTRIBUTION:
            yield found
        for requirement in map(Requirement, found.requires or ()):
            name = _normal(requirement.name)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and name not in seen:
                seen.add(name)
                waiting.append(name)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _part(found: metadata.Distribution) -> Component:
    # not `found.files`, which makes an object of each of PyTorch's 15,000 files
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
    """The expression of new metadata, else the classifiers, else the first line of free text."""
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
