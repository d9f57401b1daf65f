"""tensorboardX looks for torch, which takes seconds to import; the app has it long before."""

import importlib
import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def _tensorboardx_without_torch() -> None:
    with pytest.MonkeyPatch.context() as patch:
        if "torch" not in sys.modules:
            patch.setitem(sys.modules, "torch", None)
        importlib.import_module("tensorboardX")
