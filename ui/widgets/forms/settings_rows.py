"""The settings as rows of a form: each is one line, wherever it is shown.

When a value takes effect is said where that isn't at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtWidgets import QCheckBox

from app.common.i18n import LANGUAGES, _
from ui.models.preferences import START_AT_LOGIN
from ui.style import theme
from ui.texts import news
from ui.widgets.forms.form import Field, choice, line_edit

Take = Callable[[str, Any], Any]

IDLE_MINUTES = 10
"""What one is offered before one thinks of a number."""


def _as_it_is(text: str, _old: Any) -> str:
    return text


@dataclass(frozen=True, kw_only=True)
class Row:
    """A setting and its field. show: its value as the field's text; take: the other way round,
    given the value in force as well, of which the field may be a part."""

    name: str
    field: Field
    show: Callable[[Any], str] = str
    take: Take = _as_it_is


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows that belong together."""

    title: str
    rows: tuple[Row, ...]


# --- kinds of rows


def text(name: str, caption: str, *hints: str) -> Row:
    """A line of text, or a number."""
    return Row(name=name, field=Field(caption, line_edit(), _joined(hints)))


def several(name: str, caption: str, *hints: str) -> Row:
    """A list, separated by commas."""
    field = Field(caption, line_edit(), _joined(hints))
    return Row(name=name, field=field, show=", ".join)


def switch(name: str, caption: str, *hints: str) -> Row:
    """On or off."""
    field = Field(caption, QCheckBox(caption), _joined(hints))
    return Row(name=name, field=field, show=_shown, take=lambda text, _old: bool(text))


def one_of(name: str, caption: str, words: Mapping[str, str], *hints: str) -> Row:
    """One of several; words: what is shown for each value."""
    return Row(name=name, field=Field(caption, choice(words), _joined(hints)))


def member(name: str, key: str, caption: str) -> Row:
    """A switch for one of the many that a setting may hold."""

    def take(text: str, old: tuple[str, ...]) -> tuple[str, ...]:
        others = tuple(each for each in old if each != key)
        return (*others, key) if text else others

    field = Field(caption, QCheckBox(caption))
    return Row(name=name, field=field, show=lambda value: _shown(key in value), take=take)


def _shown(on: object) -> str:
    return "true" if on else ""


def _joined(hints: tuple[str, ...]) -> str:
    return " ".join(hint for hint in hints if hint)


def _at_next_start() -> str:
    return _("Takes effect at the next start.")


def _at_next_join() -> str:
    return _("Takes effect when you next join a swarm.")


def _at_next_training() -> str:
    return _("Takes effect when training next starts.")


# --- the rows


def sections(*, has_tray: bool) -> tuple[Section, ...]:
    """All of the settings page, in order."""
    return (
        Section(title=_("General"), rows=_general()),
        Section(title=_("On the desktop"), rows=desktop(has_tray=has_tray)),
        Section(title=_("Notify me while the window isn't in front"), rows=_notifications()),
        Section(title=_("This machine in the swarm"), rows=_machine()),
        Section(title=_("Network"), rows=_network()),
        Section(title=_("CoTrain backend"), rows=_backend()),
        Section(title=_("Local API"), rows=_local_api()),
    )


def _general() -> tuple[Row, ...]:
    languages = {"system": _("Like the system"), **LANGUAGES}
    return (
        one_of("theme", _("Theme"), theme.choices()),
        one_of("language", _("Language"), languages, _at_next_start()),
        switch("debug", _("Log in detail"), _("For finding a fault."), _at_next_start()),
    )


def desktop(*, has_tray: bool) -> tuple[Row, ...]:
    """How the app is there while one doesn't look at it. has_tray: of the desktop."""
    start = switch(
        START_AT_LOGIN,
        _("Start when I log in"),
        _("In the tray, or minimised where there is none."),
    )
    close = switch(
        "close_to_tray",
        _("Keep running in the tray when I close the window"),
        _("Quit in the menu ends it."),
    )
    return (start, close) if has_tray else (start,)


def _notifications() -> tuple[Row, ...]:
    return tuple(member("notifications", kind, words) for kind, words in news.kinds().items())


def publish() -> Row:
    """Whether the swarm sees this machine."""
    return switch(
        "publish_machine",
        _("Show this machine's figures to the swarm"),
        _("Its alias, device, state, speed and temperature; never the host's or your name."),
    )


def mains_only() -> Row:
    """Whether to leave the battery alone."""
    return switch("terms.mains_only", _("Only on mains power"))


def only_when_idle() -> Row:
    """Whether to wait until nobody uses the computer: `IDLE_MINUTES`, unless others are set."""

    def take(said: str, old: int) -> int:
        return (old or IDLE_MINUTES) if said else 0

    caption = _("Only while nobody uses this computer")
    hint = _("After {minutes} minutes without a touch of keyboard and mouse.")
    field = Field(caption, QCheckBox(caption), hint.format(minutes=IDLE_MINUTES))
    return Row(name="terms.idle_minutes", field=field, show=_shown, take=take)


def _machine() -> tuple[Row, ...]:
    return (
        text("alias", _("Alias"), _("What the swarm calls this machine; empty: a made-up name.")),
        text("lab", _("Lab"), _("By which its admin finds it; may be empty.")),
        publish(),
    )


def _network() -> tuple[Row, ...]:
    any_port = _("TCP; 0 is any free one.")
    return (
        text("dht_port", _("Port of this app"), any_port, _at_next_join()),
        text("server_port", _("Port of the trainer"), any_port, _at_next_training()),
        several(
            "initial_peers",
            _("More peers to enter by"),
            _("Multiaddrs, separated by commas."),
            _at_next_join(),
        ),
    )


def _backend() -> tuple[Row, ...]:
    return (
        text("backend_url", _("Address"), _at_next_start()),
        text(
            "report_interval",
            _("Report every"),
            _("Seconds of training that one contribution is about."),
            _at_next_start(),
        ),
    )


def _local_api() -> tuple[Row, ...]:
    return (
        switch("callback", _("Serve it"), _("To programs that you allow."), _at_next_start()),
        text("callback_port", _("Port"), _("The next free one when taken."), _at_next_start()),
    )
