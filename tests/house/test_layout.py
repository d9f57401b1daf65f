"""Where things lie: packages stay small, and each unit test lies where its module lies."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(
    path.parent for top in ("app", "ui") for path in ROOT.glob(f"{top}/**/__init__.py")
)
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
