"""Texts of others as plain text: bounded, without characters that could disguise or control.

Peers, invites, callers and the backend write texts that we show. A terminal obeys control
characters, a bidirectional override turns a name around, a megabyte stalls the window, and a
spreadsheet takes a name for a formula.
"""

import unicodedata

MOST_CHARACTERS = 500
"""Of a text on one line."""

MOST_IN_LINES = 4000
MOST_LINES = 100

_UNSEEN = "\N{REPLACEMENT CHARACTER}"
_JOINERS = "\u200c\u200d"
"""Invisible, but needed to write some languages and emoji."""

_BREAKS = frozenset({"\t", "\n", "\v", "\f", "\r", "\x85", "\u2028", "\u2029"})
_REPLACED = frozenset({"Cc", "Cf", "Cs", "Co"})
"""Unicode's categories: control, format (the bidirectional overrides), surrogate, private use."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def one_line(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """The text on one line of at most ``most`` characters.

    Line breaks become spaces, and each other character without a shape of its own becomes U+FFFD.
    """
    if len(text) > most:
        text = text[: most - 1] + "…"
    return text if text.isprintable() else "".join(map(_shown, text))


def several_lines(text: str, *, most: int = MOST_IN_LINES) -> str:
    """The text with its line breaks, at most `MOST_LINES` lines and ``most`` characters."""
    if len(text) > most:
        text = text[: most - 1] + "…"
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], "…"]
    return "\n".join(one_line(line, most=most) for line in lines)


def cell(value: object) -> object:
    """A value for CSV: a text that a spreadsheet would take for a formula gets a quote before it.

    Numbers stay as they are.
    """
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(_FORMULAS) else "") + several_lines(value)


def _shown(letter: str) -> str:
    if letter in _BREAKS:
        return " "
    hidden = unicodedata.category(letter) in _REPLACED and letter not in _JOINERS
    return _UNSEEN if hidden else letter
