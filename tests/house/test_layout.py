"""Where things lie, and what they are called: a stranger finds a module, a test and a name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(
    path.parent for top in ("app", "ui") for path in ROOT.glob(f"{top}/**/__init__.py")
)
SOURCES = sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("ui/**/*.py")])
UNIT_TESTS = sorted(ROOT.glob("tests/unit/**/test_*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES, ids=relative)
def test_a_package_has_at_most_15_modules(package: Path) -> None:
    assert len([path for path in package.glob("*.py") if path.name != "__init__.py"]) <= 15


@pytest.mark.parametrize("package", PACKAGES, ids=relative)
def test_every_folder_of_modules_is_a_package(package: Path) -> None:
    for folder in (path for path in package.iterdir() if path.is_dir()):
        assert not list(folder.glob("*.py")) or (folder / "__init__.py").exists()


@pytest.mark.parametrize("test", UNIT_TESTS, ids=relative)
def test_a_unit_test_lies_where_its_module_lies(test: Path) -> None:
    place = ROOT / "app" / test.parent.relative_to(ROOT / "tests" / "unit")
    name = test.stem.removeprefix("test_")
    assert (place / f"{name}.py").exists() or (place.name == name and place.is_dir()), (
        f"{relative(place)}/{name}.py doesn't exist"
    )


def type_names() -> dict[str, list[str]]:
    """Each top-level class, and each type alias of app, with the modules that define it."""
    found: dict[str, list[str]] = {}
    for source in SOURCES:
        in_app = relative(source).startswith("app")
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            match node:
                case ast.ClassDef(name=name):
                    pass
                case ast.Assign(targets=[ast.Name(id=name)]) if is_type_name(name) and in_app:
                    pass
                case _:
                    continue
            found.setdefault(name, []).append(relative(source))
    return found


def is_type_name(name: str) -> bool:
    """In CapWords, as classes and aliases of types are; type variables have one letter."""
    return len(name) > 1 and name[0].isupper() and not name.isupper()


def test_no_type_name_means_two_things() -> None:
    assert {name: places for name, places in type_names().items() if len(places) > 1} == {}
