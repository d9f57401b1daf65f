"""How a request to the CoTrain backend can fail: a closed tree, one class per thing to do next.

What matters most about a failed report is whether it may have been counted: after `UncertainError`
it may have been, after any other it was not.
"""

import re
from collections.abc import Sequence

from app.common.errors import UserFacingError

_QUIRK = re.compile(r"property .+ should not exist")


class BackendError(UserFacingError):
    """The backend didn't do what it was asked."""


class UnreachableError(BackendError):
    """It can't be reached, or is in trouble itself: nothing was done; ask again later."""


class UncertainError(BackendError):
    """The request was sent and its answer is lost: it may have been counted, or may be yet."""


class RateLimitedError(BackendError):
    """Too many requests, by its count or our own. seconds: how long to be silent."""

    def __init__(self, message: str, *, seconds: float, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.seconds = seconds


class NotSignedInError(BackendError):
    """It wants a sign-in that we don't have, or doesn't accept the one we have."""


class WrongInputError(BackendError):
    """What the user typed can't be right, which needs no backend to tell."""


class WrongAnswerError(BackendError):
    """Somebody answered, but not as this backend does: a web page, a redirect, another format."""


class RefusedError(BackendError):
    """It understood and said no. status: of HTTP, 0 on a socket; texts: its reasons."""

    def __init__(self, message: str, *, status: int, texts: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.texts = tuple(texts)

    @property
    def quirk(self) -> bool:
        """It knows none of the fields of its own interface, as today's backend on some routes:
        400 with nothing but ``property … should not exist``. What it refuses so over HTTP it
        takes over Socket.IO."""
        known = self.status == 400 and bool(self.texts)
        return known and all(_QUIRK.fullmatch(text) for text in self.texts)

    @property
    def is_final(self) -> bool:
        """It is the content that is refused: the same will be refused again."""
        return self.status in (400, 404, 409, 413, 422)
