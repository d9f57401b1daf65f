"""What an invite says a swarm is for: bounded, signed, and no part of what is trained."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.common.errors import SpecError
from app.spec import invite, schema
from app.spec.about import AboutSpec, in_words
from app.spec.signing import signed
from app.takeout.identity import fingerprint_of, identity_of
from tests.support.organiser.organisers import organiser
from tests.support.training.specs import SMALLEST

SAID = {
    "purpose": "A model of old letters",
    "organiser": "The library of Alexandria",
    "until": "9999-12-31",
    "licence": "CC-BY-4.0",
    "contact": "letters@library.example",
}


def spec_of(about: dict[str, Any] | None) -> schema.SwarmSpec:
    return schema.parse(SMALLEST | ({} if about is None else {"about": about}))


def test_an_invite_carries_it() -> None:
    ours = spec_of(SAID)
    assert ours.about is not None
    assert ours.about.as_json() == SAID
    assert invite.read_link(invite.as_link(ours)) == ours
    assert json.loads(invite.as_file(ours))["about"] == SAID


def test_what_is_not_said_is_left_out() -> None:
    assert spec_of({"purpose": "x"}).to_json()["about"] == {"purpose": "x"}
    assert in_words(AboutSpec()) == in_words(None) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("purpose", "p" * 501),
        ("organiser", "o" * 101),
        ("licence", "l" * 101),
        ("contact", "c" * 201),
        ("purpose", "two\nlines"),
        ("contact", "\u202edisguised"),
        ("licence", "\x1b[31mred"),
        ("until", "tomorrow"),
        ("until", "2027-02-30"),
        ("until", "2027-3-1"),
        ("until", "٢٠٢٧-٠٣-٣١"),
        ("until", 1_800_000_000),
        ("purpose", 7),
        ("sponsor", "unknown"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of({field: value})
    assert caught.value.field == f"about.{field}"


def test_it_is_no_part_of_what_is_trained() -> None:
    """Whoever has an invite from before it was changed trains the same run."""
    with_it, without = spec_of(SAID), spec_of(None)
    assert identity_of(with_it) == identity_of(without)
    assert fingerprint_of(with_it) == fingerprint_of(without)


def test_an_organisers_signature_holds_for_it() -> None:
    ours = signed(spec_of(SAID | {"until": "2027-03-31"}), organiser(), name="Ada", closed=False)
    assert invite.read_link(invite.as_link(ours)) == ours
    changed = ours.to_json() | {"about": SAID}
    with pytest.raises(SpecError) as caught:
        schema.parse(changed)
    assert caught.value.field == "organiser.signature"


def test_its_last_day_is_still_of_it() -> None:
    today = datetime.now().astimezone().date()
    yesterday = today - timedelta(days=1)
    assert not AboutSpec(until=today + timedelta(days=1)).is_over
    assert AboutSpec(until=yesterday).is_over
    assert not AboutSpec().is_over
    assert "past" in in_words(AboutSpec(until=yesterday))["Runs until"]


def test_it_is_said_in_words() -> None:
    about = spec_of(SAID).about
    assert list(in_words(about).values()) == list(SAID.values())
