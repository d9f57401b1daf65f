"""The Chinese catalogue says all that the sources say, and English stands in for what it doesn't.

After a text has changed: ``make messages``, then fill in what is new.
"""

import gettext
import importlib.util
import re
from collections import Counter
from pathlib import Path
from string import Formatter
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from app.common import i18n

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "resources" / "translations" / "zh_CN.po"
FIELD = re.compile(r"[a-z]+(?:_[a-z]+)+")
Id = str | tuple[str, str]


def extracted() -> set[Id]:
    """Every message in the sources; singular and plural are a pair."""
    return {
        message
        for folder in ("app", "ui")
        for _file, _line, message, _comments, _context in extract_from_dir(ROOT / folder)
    }


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    with SOURCE.open("rb") as file:
        return read_po(file, abort_invalid=True)


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``packaging/compile_translations.py``, at work on a copy."""
    place = ROOT / "packaging" / "compile_translations.py"
    spec = importlib.util.spec_from_file_location("compile_translations", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / SOURCE.name).write_bytes(SOURCE.read_bytes())
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def entries(catalogue: Catalog) -> list[Message]:
    return [message for message in catalogue if message.id]  # the first is the header


def forms(text: Id) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def placeholders(text: str) -> Counter[str]:
    """What `str.format` fills in, as written, names of fields, and a menu's mnemonic."""
    parts = list(Formatter().parse(text))
    found = Counter(name for _text, name, _spec, _conversion in parts if name)
    found.update(name for part, *_rest in parts for name in FIELD.findall(part))
    found["&"] = text.count("&")
    return found


def test_every_message_is_in_the_catalogue(catalogue: Catalog) -> None:
    assert len(extracted()) > 100
    assert extracted() - {message.id for message in entries(catalogue)} == set()


def test_nothing_in_the_catalogue_is_left_over(catalogue: Catalog) -> None:
    assert {message.id for message in entries(catalogue)} - extracted() == set()
    assert list(catalogue.obsolete) == []


def test_every_message_is_translated(catalogue: Catalog) -> None:
    unfinished = [
        message.id
        for message in entries(catalogue)
        if message.fuzzy or not all(form.strip() for form in forms(message.string))
    ]
    assert unfinished == []


def test_translations_keep_the_placeholders(catalogue: Catalog) -> None:
    wrong = [
        (message.id, form)
        for message in entries(catalogue)
        for form in forms(message.string)
        if placeholders(form) != placeholders(forms(message.id)[-1])
    ]
    assert wrong == []


def test_placeholders_are_counted() -> None:
    assert placeholders("&Open {a}, {b:,} of {a} (max_length)") == {
        "a": 2,
        "b": 1,
        "&": 1,
        "max_length": 1,
    }


def test_the_catalogue_compiles_and_speaks(
    compiler: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(i18n, "_catalogues", [gettext.NullTranslations()])
    compiler.main()
    assert i18n.install("zh_CN", tmp_path) == "zh_CN"
    assert i18n._("Start training") == "开始训练"
    assert i18n.ngettext("{count} peer", "{count} peers", 1) == "{count} 个节点"
    assert i18n.ngettext("{count} peer", "{count} peers", 7) == "{count} 个节点"
    assert i18n._("No such message") == "No such message"
    i18n.install("en", tmp_path)
    assert i18n._("Start training") == "Start training"


def test_only_what_changed_is_compiled(
    compiler: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler.main()
    assert "zh_CN" in capsys.readouterr().out
    compiler.main()
    assert capsys.readouterr().out == ""
