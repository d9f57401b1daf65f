"""Whether anybody is in a swarm, before joining it: asked when the user wants to know."""

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtGui import QHideEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget
from typing_extensions import override

from app.common.i18n import _, ngettext
from app.p2p.calls import CallError
from app.swarm.look import SeenFromOutside
from ui.models.session_model import SessionModel
from ui.texts import states as texts
from ui.texts import units
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec


class LookRow(QWidget):
    """A button that asks, and what is seen while the preview is open.

    Not asked by itself for an invite from elsewhere: a link on some page would have this machine
    call whatever addresses it names.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._spec: SwarmSpec | None = None
        self._looking: asyncio.Task[None] | None = None
        self.ask = button(_("Is anybody there?"))
        self.ask.setAutoDefault(False)
        self.said = label(role="muted", wrap=True)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        row.addWidget(self.ask)
        row.addWidget(self.said, 1)
        self.ask.clicked.connect(self.look)

    def show_spec(self, spec: "SwarmSpec", *, known: bool) -> None:
        """Be about a swarm. known: this machine was in it, so it may be asked at once."""
        self.stop()
        self._spec = spec
        self.setVisible(bool(spec.initial_peers))
        self._say(_("Asking calls the addresses in the invite, which then see this machine's."))
        if known and spec.initial_peers:
            self.look()

    def look(self) -> None:
        """Begin to look, and go on until the preview is closed."""
        assert self._spec is not None
        self.stop()
        self.ask.setEnabled(False)
        self._say(_("Asking… This takes up to half a minute."))
        self._looking = self._model.start(self._look(self._spec))

    def stop(self) -> None:
        """End looking."""
        if self._looking is not None:
            self._looking.cancel()
        self._looking = None
        self.ask.setEnabled(True)

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        if not event.spontaneous():  # a window that is minimised is looked at again
            self.stop()

    async def _look(self, spec: "SwarmSpec") -> None:
        lab = self._model.session.store.settings.lab
        try:
            async for seen in self._model.session.look_at(spec):
                self._say(in_words(seen, lab=lab))
        except CallError as error:
            self._say(_("It can't be asked: {reason}.").format(reason=error.reason))
        self.ask.setEnabled(True)

    def _say(self, text: str) -> None:
        if text == self.said.text():
            return
        self.said.setText(text)
        self.said.setAccessibleName(text)
        announce(self.said)


def in_words(seen: SeenFromOutside, *, lab: str) -> str:
    """What was seen, on one line."""
    if not seen.answered:
        return ngettext(
            "Nobody answers: {count} peer of the invite was called.",
            "Nobody answers: {count} peers of the invite were called.",
            seen.called,
        ).format(count=units.count(seen.called))
    parts = [_("Reachable")]
    if seen.machines:
        text = ngettext("{count} machine", "{count} machines", seen.machines)
        parts.append(text.format(count=units.count(seen.machines)))
    if lab and seen.machines:
        text = ngettext("{count} of your lab", "{count} of your lab", seen.of_lab)
        parts.append(text.format(count=units.count(seen.of_lab)))
    text = ngettext("{count} trains now", "{count} train now", seen.training)
    parts.append(text.format(count=units.count(seen.training)))
    return texts.DOT.join(parts)
