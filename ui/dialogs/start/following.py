"""The strategy's fields follow the recommendation until the user changes one of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from app.spec.form.names import Values
from ui.widgets.forms.fields import Field


class FollowingFields:
    """Remembers the texts that the recommendation is made from: making each one from the last would
    round the run's epochs again and again."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        """fields: those of the strategy, and of what depends on it, by name."""
        self._fields = dict(fields)
        self._filling = False
        self._before: Values = {}
        self.follows = True
        self.follow()
        for field in self._fields.values():
            field.edited.connect(self._on_edited)

    def _on_edited(self) -> None:
        self.follows = self.follows and self._filling

    def follow(self) -> None:
        """From now on, beginning from what the fields say."""
        self.follows = True
        self._before = {name: field.value for name, field in self._fields.items()}

    def before(self, values: Values) -> Values:
        """The form's values, with these fields as they were before any recommendation."""
        return {**values, **self._before} if self.follows else values

    def take(self, recommended: Values) -> bool:
        """Fill in what is recommended; returns whether that changed anything."""
        changes = {k: text for k, text in recommended.items() if self._fields[k].value != text}
        if not self.follows or not changes:
            return False
        with self.filling():
            for name, text in changes.items():
                self._fields[name].set_value(text)
        return True

    @contextmanager
    def filling(self) -> Iterator[None]:
        """What changes meanwhile isn't the user's doing."""
        self._filling = True
        try:
            yield
        finally:
            self._filling = False
