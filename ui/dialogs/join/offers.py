"""The tab for the swarms that the CoTrain backend offers: a search and a list in pages."""

from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget
from shiboken6 import isValid
from typing_extensions import override

from app.common.errors import UserFacingError
from app.common.i18n import _, ngettext
from app.common.plain import one_line
from ui.models.session_model import SessionModel
from ui.texts import specs as spec_texts
from ui.texts import states as texts
from ui.texts import units
from ui.widgets.buttons import button
from ui.widgets.forms.fields import error_label, line_edit, show_error
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.backend.offers import Offer, OfferPage

SEARCH_MS = 500
"""Delay after the last key: each search is a request, and the backend limits requests."""


class Client(Protocol):
    """What the tab needs of the backend's client (`app.backend.offers.Offers`)."""

    url: str
    """The backend's address."""

    async def page(self, number: int = 1, *, search: str = "") -> "OfferPage":
        """One page of offers, counted from 1."""


class OfferedSwarms(QWidget):
    """Asks the backend when it is first shown."""

    chosen = Signal(object)
    """Carries the `SwarmSpec` that the user chose."""

    def __init__(self, model: SessionModel, client: Client) -> None:
        super().__init__()
        self._model = model
        self._client = client
        self._asked = 0
        self._number, self._pages = 1, 1
        self.search = line_edit(_("Search by title"))
        self.list = QListWidget()
        self.words = label(role="muted", wrap=True)
        self.error = error_label()
        self.again = button(_("Try again"))
        self.previous, self.next = button(_("Previous")), button(_("Next"))
        self.view = button(_("View"), "primary")
        self._typing = QTimer(self, singleShot=True, interval=SEARCH_MS)
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        self.search.setPlaceholderText(_("Search by title"))
        self.search.setClearButtonEnabled(True)
        self.list.setAccessibleName(_("Swarms that the CoTrain backend offers"))
        self.list.setWordWrap(True)
        self.again.hide()
        row = QHBoxLayout()
        row.setSpacing(8)
        for part in (self.previous, self.next):
            row.addWidget(part)
        row.addStretch()
        row.addWidget(self.view)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(self.search)
        column.addWidget(self.words)
        column.addWidget(self.error)
        column.addWidget(self.again, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self.list, 1)
        column.addStretch()
        column.addLayout(row)

    def _connect(self) -> None:
        self.search.textChanged.connect(self._typing.start)
        self.search.returnPressed.connect(self._search)
        self._typing.timeout.connect(self._search)
        self.again.clicked.connect(lambda: self._ask(self._number))
        self.previous.clicked.connect(lambda: self._ask(self._number - 1))
        self.next.clicked.connect(lambda: self._ask(self._number + 1))
        self.list.itemActivated.connect(lambda _item: self._choose())
        self.list.currentItemChanged.connect(self._enable)
        self.view.clicked.connect(self._choose)
        self._enable()

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._asked:
            self._ask(1)

    # --- asking

    def _search(self) -> None:
        self._typing.stop()
        self._ask(1)

    def _ask(self, number: int) -> None:
        """Request a page. Answers to earlier requests are ignored from now on."""
        self._asked += 1
        self._number = number
        self._say(_("Asking {url}…").format(url=self._client.url))
        self._model.run(self._fetch(number, self.search.text().strip(), asked=self._asked))
        self._enable()

    async def _fetch(self, number: int, search: str, *, asked: int) -> None:
        try:
            page = await self._client.page(number, search=search)
        except UserFacingError as error:
            if isValid(self) and asked == self._asked:
                self._show_problem(error)
        else:
            if isValid(self) and asked == self._asked:
                self._show_page(page)

    def _show_page(self, page: "OfferPage") -> None:
        self._number, self._pages = page.page, page.pages
        self.list.clear()
        for offer in page.offers:
            self.list.addItem(_item(offer))
        self.list.setCurrentRow(0 if page.offers else -1)
        self.list.setVisible(bool(page.offers))
        found = ngettext("{count} swarm", "{count} swarms", page.total).format(count=page.total)
        place = _("page {page} of {pages}").format(page=page.page, pages=page.pages)
        self._say(texts.DOT.join((found, place)) if page.offers else _("Nothing is offered."))
        self._enable()

    def _show_problem(self, error: UserFacingError) -> None:
        self.list.clear()
        self.list.hide()
        self._say("")
        show_error(self.error, texts.sentences(error))
        self.again.show()
        self._enable()

    def _say(self, text: str) -> None:
        self.words.setText(text)
        self.words.setVisible(bool(text))
        show_error(self.error, "")
        self.again.hide()

    # --- choosing

    def _enable(self) -> None:
        offer = self._offer()
        self.view.setEnabled(offer is not None and offer.spec is not None)
        self.previous.setEnabled(self._number > 1)
        self.next.setEnabled(self._number < self._pages)

    def _offer(self) -> "Offer | None":
        item, some = self.list.currentItem(), self.list.currentRow() >= 0
        offer: Offer | None = item.data(Qt.ItemDataRole.UserRole) if some else None
        return offer

    def _choose(self) -> None:
        offer = self._offer()
        if offer is not None and offer.spec is not None:
            self.chosen.emit(offer.spec)


def _item(offer: "Offer") -> QListWidgetItem:
    item = QListWidgetItem("\n".join(one_line(line) for line in _lines(offer) if line))
    item.setData(Qt.ItemDataRole.UserRole, offer)
    return item


def _lines(offer: "Offer") -> tuple[str, ...]:
    facts = [texts.session_status(offer.status), _size(offer)]
    facts += [texts.requirement(name, value) for name, value in offer.wants.items()]
    problem = ""
    if offer.problem is not None:
        problem = _("Can't be joined: {reason}").format(reason=offer.problem.text)
    elif offer.spec is not None and offer.spec.session_id is None:
        problem = _("What you contribute is not reported: the session has no number.")
    return (
        offer.title,
        offer.description,
        texts.DOT.join(fact for fact in facts if fact),
        problem,
    )


def _size(offer: "Offer") -> str:
    if offer.spec is None:
        return ""
    from app.spec.estimate import estimate

    kind = spec_texts.model_name(offer.spec.model.model_type)
    try:
        count = estimate(offer.spec, device="cpu").parameters
    except UserFacingError:
        return kind  # the preview will say what is wrong
    return _("{kind}, {number} parameters").format(kind=kind, number=units.short(count))
