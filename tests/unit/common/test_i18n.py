"""Texts are in the chosen language, and in English where no catalogue has them."""

import gettext
import struct
from pathlib import Path

import pytest

from app.common import i18n

LOCALE_NAMES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture(autouse=True)
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "_catalogues", [gettext.NullTranslations()])
    for name in LOCALE_NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def translations(tmp_path: Path) -> Path:
    """A folder with a Chinese catalogue of one message."""
    header = b"Content-Type: text/plain; charset=UTF-8\nLanguage: zh_CN\n"
    pairs = {b"": header, b"Stop": "停止".encode()}
    file = tmp_path / "zh_CN" / "LC_MESSAGES" / f"{i18n.DOMAIN}.mo"
    file.parent.mkdir(parents=True)
    file.write_bytes(compiled(pairs))
    return tmp_path


def compiled(pairs: dict[bytes, bytes]) -> bytes:
    """A catalogue in the form of GNU gettext's .mo files, without a hash table."""
    tables, texts = b"", b""
    start = 28 + 16 * len(pairs)
    for column in (list(pairs.keys()), list(pairs.values())):
        for text in column:
            tables += struct.pack("<II", len(text), start + len(texts))
            texts += text + b"\0"
    count = len(pairs)
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 28 + 16 * count)
    return head + tables + texts


def test_message_is_translated(translations: Path) -> None:
    i18n.install("zh_CN", translations)
    assert i18n._("Stop") == "停止"


def test_unknown_message_stays_as_it_is(translations: Path) -> None:
    i18n.install("zh_CN", translations)
    assert i18n._("No such message") == "No such message"


def test_language_can_be_changed_back(translations: Path) -> None:
    i18n.install("zh_CN", translations)
    i18n.install("en", translations)
    assert i18n._("Stop") == "Stop"


def test_without_catalogues_english_is_shown(tmp_path: Path) -> None:
    assert (i18n.install("zh_CN", tmp_path), i18n._("Stop")) == ("zh_CN", "Stop")


def test_language_spoken_is_the_catalogues(translations: Path) -> None:
    i18n.install("zh_CN", translations)
    assert i18n.spoken() == "zh_CN"


def test_without_catalogues_english_is_spoken(tmp_path: Path) -> None:
    i18n.install("zh_CN", tmp_path)
    assert i18n.spoken() == "en"


def test_plural_follows_the_count(tmp_path: Path) -> None:
    i18n.install("en", tmp_path)
    texts = [i18n.ngettext("{n} peer", "{n} peers", n) for n in (0, 1, 2)]
    assert texts == ["{n} peers", "{n} peer", "{n} peers"]


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_TW.UTF-8"}, "zh_CN"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_GB.UTF-8"}, "zh_CN"),
        ({"LANGUAGE": "zh_CN:en", "LANG": "en_GB.UTF-8"}, "zh_CN"),
    ],
)
def test_system_language_is_the_desktops(
    environment: dict[str, str],
    language: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert i18n.install("system", tmp_path) == language
