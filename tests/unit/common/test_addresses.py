"""Which addresses mean this machine alone."""

import pytest

from app.common.addresses import is_loopback, is_private


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("127.1", False),
        ("2130706433", False),
    ],
)
def test_what_loopback_is(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://backend.example", True),
        ("http://backend.example", False),
        ("http://backend:3001", False),
        ("http://localhost:3001", True),
        ("http://127.0.0.1:3001", True),
        ("http://[::1]:3001", True),
        ("http://192.168.1.2:3001", False),
    ],
)
def test_who_can_read_along(url: str, private: bool) -> None:
    assert is_private(url) is private
