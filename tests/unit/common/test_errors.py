"""An error's text names the field, what is wrong with it, and the remedy."""

import pytest

from app.common import errors
from app.common.errors import CoTrainError, ProtocolError, UserFacingError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserFacingError("It is wrong."), "It is wrong."),
        (UserFacingError("is wrong.", field="seed"), "seed: is wrong."),
        (UserFacingError("It is wrong.", remedy="Mend it."), "It is wrong. Mend it."),
        (
            UserFacingError("is wrong.", field="seed", remedy="Mend it."),
            "seed: is wrong. Mend it.",
        ),
    ],
)
def test_text_leaves_out_empty_parts(error: UserFacingError, text: str) -> None:
    assert (error.text, str(error)) == (text, text)


def test_all_errors_have_one_root() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    assert all(issubclass(kind, CoTrainError) for kind in kinds)


def test_a_protocol_error_is_not_for_the_user() -> None:
    assert not issubclass(ProtocolError, UserFacingError)
