"""The errors of requests to the CoTrain backend: one class for each way to go on.

The main question after a failed report is whether it was counted. After `UncertainError` it may
have been, after every other error it was not.
"""

import re
from collections.abc import Sequence

from app.common.errors import UserFacingError
from app.common.plain import one_line

_QUIRK = re.compile(r"property .+ should not exist")


def shown(text: object) -> str:
    """A text of the backend as one line of at most 500 characters."""
    return one_line(str(text)).strip()


class BackendError(UserFacingError):
    """Any failure of a request to the backend."""

    seconds = 0.0
    """How long to send nothing."""


class UnreachableError(BackendError):
    """The backend can't be reached or has failed. The request had no effect; try again later."""


class UncertainError(BackendError):
    """The request was sent, and its answer is lost or doesn't tell. It may have had its effect, or
    have it later."""


class RateLimitedError(BackendError):
    """Too many requests, as the backend or our own `Budget` counts them."""

    def __init__(self, message: str, *, seconds: float, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.seconds = seconds


class NotSignedInError(BackendError):
    """Nobody is signed in, or the backend doesn't accept the sign-in."""


class UnencryptedError(BackendError):
    """A password or a sign-in would go over the network unencrypted, so nothing was sent."""


class WrongInputError(BackendError):
    """The user's input is wrong, as we can tell without asking the backend."""


class WrongAnswerError(BackendError):
    """The answer isn't that of a CoTrain backend: a web page, a redirect, another format."""


class RefusedError(BackendError):
    """The backend understood the request and refused it."""

    def __init__(self, message: str, *, status: int, texts: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status."""
        self.texts = tuple(texts)
        """The backend's reasons."""

    @property
    def quirk(self) -> bool:
        """Whether this is a known defect of the backend: a route that refuses all its own fields.

        Such a route answers 400 and only texts like ``property … should not exist``. What it
        refuses over HTTP the backend takes over Socket.IO.
        """
        known = self.status == 400 and bool(self.texts)
        return known and all(_QUIRK.fullmatch(text) for text in self.texts)

    @property
    def is_final(self) -> bool:
        """Whether the content is refused, so that sending it again is no use."""
        return self.status in (400, 404, 409, 413, 422)
