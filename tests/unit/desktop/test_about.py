"""Version and licences, collected in a checkout and read from a build."""

from pathlib import Path

import pytest

import app
from app.desktop import about
from app.desktop.about import About, Component

BUILT = About(
    version="9.9.9",
    commit="0123456789ab",
    parts=(Component(name="thing", version="1", licence="MIT", text="Copyright © somebody"),),
)


@pytest.fixture(scope="module")
def found() -> About:
    return about.gather()


def test_checkout_lists_direct_and_indirect_dependencies(found: About) -> None:
    names = {part.name.lower() for part in found.parts}
    assert found.version == app.__version__
    assert {"python", about.DISTRIBUTION, "torch", "hivemind"} <= names  # direct dependencies
    assert {"sympy", "shiboken6", "pycparser"} <= names  # indirect dependencies
    assert not {"pytest", "pyinstaller", "mypy"} & names  # development tools


def test_components_are_unique_and_sorted(found: About) -> None:
    names = [part.name.lower() for part in found.parts]
    assert names == sorted(set(names))


def test_licences_come_with_their_texts(found: About) -> None:
    parts = {part.name: part for part in found.parts}
    assert "TERMS AND CONDITIONS" in parts[about.DISTRIBUTION].text
    assert "PYTHON SOFTWARE FOUNDATION" in parts["Python"].text.upper()
    assert parts["pydantic"].licence == "MIT"
    assert "Permission is hereby granted" in parts["pydantic"].text
    assert parts["numpy"].licence


def test_packaged_app_reads_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "about.json"
    file.write_text(BUILT.to_json(), encoding="utf-8")
    monkeypatch.setattr(about, "BUILT", file)
    assert about.load() == BUILT


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert about.commit() == ""
    monkeypatch.undo()
    monkeypatch.setattr(about, "ROOT", tmp_path)
    assert about.commit() == ""
