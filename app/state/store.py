"""The one object that holds the settings in force and what the app knows, and tells of changes."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from app.common.background import survived
from app.common.subscription import Subscription, subscribed
from app.settings.settings import Settings
from app.state.events import Event
from app.state.state import ContributorState
from app.state.transition import after

log = logging.getLogger(__name__)

StateListener = Callable[[ContributorState], None]
EventListener = Callable[[Event, ContributorState], None]


class ReadableStore(Protocol):
    """A `Store` for whoever reads it and changes nothing."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    @property
    def state(self) -> ContributorState:
        """The newest state."""

    def subscribe(self, listener: StateListener) -> Subscription:
        """Call ``listener`` with each new state."""


class Store:
    """Settings and state of one session. Used on the event loop's thread alone.

    Both are frozen values: whoever needs the newest one reads it here and keeps no copy.
    """

    def __init__(self, *, settings: Settings, state: ContributorState) -> None:
        self._settings = settings
        self._state = state
        self._event_listeners: list[EventListener] = []
        self._state_listeners: list[StateListener] = []

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    def replace_settings(self, settings: Settings) -> None:
        """Put other settings in force. Writing the settings file is the caller's part."""
        self._settings = settings

    @property
    def state(self) -> ContributorState:
        """The newest state."""
        return self._state

    def dispatch(self, event: Event) -> None:
        """Change the state as `after` says, then call the listeners.

        Listeners to events are called first, in the order in which they subscribed, whether or
        not the state has changed; then, if it has, the listeners to states. What a listener
        raises is logged: neither the others nor whoever dispatches can help it.
        """
        before, self._state = self._state, after(self._state, event)
        for on_event in tuple(self._event_listeners):
            with survived(log, "a listener failed at %s", type(event).__name__):
                on_event(event, self._state)
        if self._state.phase is not before.phase:
            log.info("%s", self._state.phase.value, extra={"monotonic": time.monotonic()})
        if self._state != before:
            for on_state in tuple(self._state_listeners):
                with survived(log, "a listener failed at %s", type(event).__name__):
                    on_state(self._state)

    def subscribe(self, listener: StateListener) -> Subscription:
        """Call ``listener`` with each new state."""
        return subscribed(self._state_listeners, listener)

    def subscribe_to_events(self, listener: EventListener) -> Subscription:
        """Call ``listener`` with each event and the state after it."""
        return subscribed(self._event_listeners, listener)
