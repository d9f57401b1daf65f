"""What labels say of an error: sentences, without the names of fields that only files have."""

import pytest

from app.common.errors import UserFacingError
from app.state.facts import Problem
from ui.dialogs.join import files
from ui.texts.states import error_text, problem_sentence

pytestmark = pytest.mark.gui


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("pause", "It broke. Mend it."),
        ("model_config.heads", "It broke. Mend it."),
        ("lab/repository", "It broke. Mend it."),
        ("", "It broke. Mend it."),
        ("/home/you/ledger.db", "/home/you/ledger.db: it broke. Mend it."),
    ],
)
def test_a_path_is_named_and_a_field_is_not(field: str, said: str) -> None:
    assert error_text(UserFacingError("it broke.", field=field, remedy="Mend it.")) == said
    problem = Problem(message="it broke.", field=field, remedy="Mend it.")  # in a banner
    assert f"{problem_sentence(problem)} Mend it." == said


def test_a_file_that_cannot_be_read_is_said_without_numbers() -> None:
    error = PermissionError(13, "Permission denied", "/data/poems.txt")
    said = files._problem("/data", error)
    assert said == "/data can't be read: Permission denied."
