"""What several packages' tests need."""

import importlib
import sys
from collections.abc import Iterator

import pytest

from tests.support.backend.server import SmallBackend


@pytest.fixture
def server() -> Iterator[SmallBackend]:
    """A real small backend, running, with the real one's quirk."""
    with SmallBackend() as backend:
        yield backend


@pytest.fixture(scope="session")
def tensorboardx() -> None:
    """Imported without torch, which takes seconds; the app has it long before."""
    with pytest.MonkeyPatch.context() as patch:
        if "torch" not in sys.modules:
            patch.setitem(sys.modules, "torch", None)
        importlib.import_module("tensorboardX")
