"""The note about a newer version at the sidebar's foot, which opens the release's page."""

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from pytestqt.qtbot import QtBot

from app.state.events import ReleaseFound
from app.state.facts import Release
from tests.support.gui.windows import Bench, clipped

pytestmark = pytest.mark.gui


def test_a_later_version_is_said_and_opens_its_page(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    sidebar = bench.window.sidebar
    assert sidebar.release.isHidden()
    release = Release(version="9.1", url="https://cotrain.example/download")
    bench.dispatch(ReleaseFound(release=release))
    qtbot.waitUntil(lambda: not sidebar.release.isHidden())
    assert sidebar.release.text() == "Version 9.1 is available"
    assert not clipped(sidebar)
    sidebar.release.click()
    assert opened == [QUrl(release.url)]
