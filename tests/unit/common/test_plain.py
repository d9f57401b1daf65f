"""Texts of others: bounded, and without what could disguise or control."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.plain import MOST_CHARACTERS, MOST_LINES, cell, one_line, several_lines


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A swarm",
        "<b>bold</b> &amp; more",
        "诗歌",
        "à la carte",
        "نیم\u200cفاصله",
        "👩\u200d🔬 5\u00a0%",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert one_line(text) == text
    assert several_lines(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "�[31mred�[0m"),
        ("\x1b]0;title\x07", "�]0;title�"),
        ("\x9b31m", "�31m"),
        ("a\r\nb\tc\u2028d\x85e", "a  b c d e"),
        ("safe\u202egpj.exe", "safe�gpj.exe"),
        ("\u2066\u200b\ufeff\U000e0041", "����"),
        ("half \ud800 pair", "half � pair"),
        ("\x00\x7f\ue000", "���"),
    ],
)
def test_what_has_no_shape_is_replaced(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_long_text_is_cut() -> None:
    assert one_line("x" * 10_000) == "x" * (MOST_CHARACTERS - 1) + "…"
    assert len(several_lines("\n" * 10_000).split("\n")) == MOST_LINES
    assert len(several_lines("x\n" * 10_000)) < 4100


def test_lines_stay_lines() -> None:
    assert several_lines("a\r\nb\n\x1b[2Jc\rd") == "a\nb\n�[2Jc d"


@given(text=st.text() | st.text(st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
def test_any_text_is_one_line_that_can_be_encoded(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
    shown.encode()
    several_lines(text).encode()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2", "@SUM(A1)", "\t=1", "\r=1"])
def test_formula_is_no_formula_in_a_table(text: str) -> None:
    assert str(cell(text)).startswith("'")


def test_numbers_and_other_texts_stay_in_a_table() -> None:
    assert [cell(value) for value in (-1.5, None, "a = b", 'a "b",\nc')] == [
        -1.5,
        None,
        "a = b",
        'a "b",\nc',
    ]
