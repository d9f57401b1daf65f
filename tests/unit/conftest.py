"""A real small backend for each test."""

from collections.abc import Iterator

import pytest

from tests.support.backend.server import SmallBackend


@pytest.fixture
def server() -> Iterator[SmallBackend]:
    """Running, with the real one's quirk."""
    with SmallBackend() as backend:
        yield backend
