"""All settings as rows of a form: each is defined here once, for every form that shows it.

A row's hint says when the value takes effect, unless it does at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtWidgets import QCheckBox

from app.common.i18n import LANGUAGES, _
from ui.models.preferences import START_AT_LOGIN
from ui.style import theme
from ui.texts import news
from ui.widgets.forms.fields import Field, combo_box, line_edit

ToValue = Callable[[str, Any], Any]
"""Turns a field's text and the setting's old value into its new value."""

IDLE_MINUTES = 10
"""The minutes that the simple switch of the first steps sets."""


def _as_it_is(text: str, _old: Any) -> str:
    return text


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A setting and its field."""

    name: str
    """The setting's name in `ui.models.preferences.Preferences`."""

    field: Field

    to_text: Callable[[Any], str] = str
    """Turns the setting's value into the field's text."""

    to_value: ToValue = _as_it_is
    """Turns the field's text into the setting's value. It gets the value in force too, since
    several fields may each show a part of one setting."""


@dataclass(frozen=True, kw_only=True)
class SettingsSection:
    """A card of the settings page."""

    title: str
    """Translated."""

    rows: tuple[SettingRow, ...]

    advanced: bool = False
    """Whether most people never need it."""


# --- kinds of rows


def text_row(name: str, caption: str, *hints: str) -> SettingRow:
    """A row for a text or a number."""
    return SettingRow(name=name, field=Field(caption, line_edit(), _joined(hints)))


def list_row(name: str, caption: str, *hints: str) -> SettingRow:
    """A row for a list, separated by commas."""
    field = Field(caption, line_edit(), _joined(hints))
    return SettingRow(name=name, field=field, to_text=", ".join)


def switch_row(name: str, caption: str, *hints: str) -> SettingRow:
    """A row that is on or off."""
    field = Field(caption, QCheckBox(caption), _joined(hints))
    return SettingRow(
        name=name, field=field, to_text=_shown, to_value=lambda text, _old: bool(text)
    )


def choice_row(name: str, caption: str, words: Mapping[str, str], *hints: str) -> SettingRow:
    """A row for one of several values. words: the text of each, by the value."""
    return SettingRow(name=name, field=Field(caption, combo_box(words), _joined(hints)))


def member_row(name: str, key: str, caption: str) -> SettingRow:
    """A switch for one member of a setting that holds a set. key: the member."""

    def to_value(text: str, old: tuple[str, ...]) -> tuple[str, ...]:
        others = tuple(each for each in old if each != key)
        return (*others, key) if text else others

    field = Field(caption, QCheckBox(caption))
    return SettingRow(
        name=name, field=field, to_text=lambda value: _shown(key in value), to_value=to_value
    )


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


def sections(*, has_tray: bool) -> tuple[SettingsSection, ...]:
    """All sections of the settings page except the terms, in order."""
    return (
        SettingsSection(title=_("General"), rows=_general()),
        SettingsSection(title=_("On the desktop"), rows=desktop(has_tray=has_tray)),
        SettingsSection(
            title=_("Notify me while the window isn't in front"), rows=_notifications()
        ),
        SettingsSection(title=_("This machine in the swarm"), rows=_machine()),
        SettingsSection(title=_("Alerts about machines"), rows=_alerts(), advanced=True),
        SettingsSection(title=_("Trackers"), rows=_trackers(), advanced=True),
        SettingsSection(title=_("Network"), rows=_network(), advanced=True),
        SettingsSection(title=_("CoTrain backend"), rows=_backend()),
        SettingsSection(title=_("Local API"), rows=_local_api(), advanced=True),
    )


def _general() -> tuple[SettingRow, ...]:
    languages = {"system": _("Like the system"), **LANGUAGES}
    return (
        choice_row("theme", _("Theme"), theme.theme_labels()),
        choice_row("language", _("Language"), languages, _at_next_start()),
        text_row(
            "energy_price",
            _("Price of a kWh"),
            _("0: not known. Contributions then say what the energy cost."),
        ),
        text_row("currency", _("Currency"), _("Its sign or name.")),
        text_row(
            "training_watts",
            _("Watts while training"),
            _("Of this machine, for what it can't measure; 0: not known, nothing is estimated."),
        ),
        switch_row(
            "debug", _("Write a detailed log"), _("Helps to find a fault."), _at_next_start()
        ),
    )


def desktop(*, has_tray: bool) -> tuple[SettingRow, ...]:
    """Start at login, going on as before and, if the desktop has a tray, closing to the tray."""
    start = switch_row(
        START_AT_LOGIN,
        _("Start when I log in"),
        _("In the tray, or minimised where there is none."),
    )
    again = switch_row(
        "go_back",
        _("Go on where I was"),
        _("When the app starts: into the same swarm, and training if it was."),
    )
    close = switch_row(
        "close_to_tray",
        _("Keep running in the tray when I close the window"),
        _("To end the app, choose Quit in the menu."),
    )
    return (start, again, close) if has_tray else (start, again)


def _notifications() -> tuple[SettingRow, ...]:
    return tuple(member_row("notifications", kind, words) for kind, words in news.kinds().items())


def publish() -> SettingRow:
    """Whether this machine's record is published to the swarm."""
    return switch_row(
        "publish_machine",
        _("Show this machine's figures to the swarm"),
        _("Its alias, device, state, speed and temperature; never the computer's name or yours."),
    )


def mains_only() -> SettingRow:
    """Whether to train on mains power only, never on battery."""
    return switch_row("terms.mains_only", _("Only on mains power"))


def only_when_idle() -> SettingRow:
    """Whether to train only while nobody uses the computer, as a simple switch.

    Switched on, it sets `IDLE_MINUTES`, unless the user set a number of minutes before.
    """

    def to_value(said: str, old: int) -> int:
        return (old or IDLE_MINUTES) if said else 0

    caption = _("Only while nobody uses this computer")
    hint = _("After {minutes} minutes without a touch of keyboard and mouse.")
    field = Field(caption, QCheckBox(caption), hint.format(minutes=IDLE_MINUTES))
    return SettingRow(name="terms.idle_minutes", field=field, to_text=_shown, to_value=to_value)


def _machine() -> tuple[SettingRow, ...]:
    return (
        text_row(
            "alias", _("Alias"), _("What the swarm calls this machine; empty: a made-up name.")
        ),
        text_row("lab", _("Lab"), _("Helps its admin to find it; may be empty.")),
        text_row(
            "lab_key",
            _("Lab key"),
            _(
                "Its admin may start, stop and move training here, and change its terms; empty:"
                " nobody."
            ),
        ),
        switch_row(
            "lab_commands",
            _("Obey the lab's commands"),
            _("Off: each is refused, and its admin is told so."),
        ),
        publish(),
        switch_row(
            "record",
            _("Keep what the swarm's machines tell"),
            _("For months, up to some 150 MB on this disk; the Machines page draws it."),
        ),
    )


def _alerts() -> tuple[SettingRow, ...]:
    kinds = {
        "silent": _("A machine fell silent"),
        "failing": _("A machine has failed"),
        "hot": _("A machine is hot"),
        "slow": _("A machine is far slower than usual"),
        "refused": _("Contributions were refused"),
        "disk": _("A disk is nearly full"),
    }
    return (
        *(member_row("alerts", key, caption) for key, caption in kinds.items()),
        text_row(
            "alert_lab",
            _("Machines of this lab"),
            _("Empty: of the lab above, and this one. *: every machine."),
        ),
        text_row("alert_temperature", _("Hot from (°C)")),
        text_row("alert_disk", _("Nearly full below (GB free)")),
        text_row(
            "alert_quiet",
            _("Quiet hours"),
            _("Such as 22:00-07:00; what is wrong then is told after them."),
        ),
        list_row(
            "alert_urls",
            _("Send alerts to"),
            _("E-mail, webhooks and chat services, as apprise writes them, separated by commas."),
        ),
    )


def _trackers() -> tuple[SettingRow, ...]:
    known = {"none": _("Nobody"), "trackio": "Trackio", "wandb": "Weights & Biases"}
    return (
        switch_row(
            "tensorboard",
            _("Write files for TensorBoard"),
            _("What the charts show, in the folder “tensorboard” beside the settings."),
        ),
        choice_row(
            "tracker",
            _("Send the curves to"),
            known,
            _("A program that you have installed and set up yourself."),
        ),
        text_row(
            "tracker_python",
            _("Python that has it"),
            _("Such as ~/venv/bin/python; empty: the one that runs this app."),
        ),
    )


def _network() -> tuple[SettingRow, ...]:
    any_port = _("TCP port; 0 takes any free one.")
    return (
        text_row("dht_port", _("Port of this app"), any_port, _at_next_join()),
        text_row("server_port", _("Port of the trainer"), any_port, _at_next_training()),
        list_row(
            "initial_peers",
            _("More peers to connect to"),
            _("Their addresses (multiaddrs), separated by commas."),
            _at_next_join(),
        ),
        text_row(
            "uplink",
            _("Upload of this line"),
            _("Mbit/s; 0: not known. For the figures before you join a swarm."),
        ),
        switch_row(
            "hub_sign_in",
            _("Use my Hugging Face sign-in"),
            _("Lets an invite name your private data sets."),
            _at_next_training(),
        ),
    )


def _backend() -> tuple[SettingRow, ...]:
    return (
        text_row("backend_url", _("Address"), _at_next_start()),
        switch_row(
            "backend_plain_http",
            _("Sign in over http too"),
            _("Others on the network can read your password then."),
            _at_next_start(),
        ),
        text_row(
            "report_interval",
            _("Report every"),
            _("Seconds of training that one contribution covers."),
            _at_next_start(),
        ),
        choice_row(
            "refill",
            _("Report again what it has forgotten"),
            {
                "ask": _("When I say so"),
                "always": _("Always"),
                "never": _("Never"),
            },
            _("The backend may forget contributions when it restarts."),
        ),
    )


def _local_api() -> tuple[SettingRow, ...]:
    return (
        switch_row(
            "callback",
            _("Switch on the local API"),
            _("For programs that you allow."),
            _at_next_start(),
        ),
        text_row(
            "callback_port",
            _("Port"),
            _("If it is taken, the next free one is used."),
            _at_next_start(),
        ),
    )
