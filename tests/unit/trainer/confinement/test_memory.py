"""A trainer that asks for more memory than there is ends with an error, not with the machine."""

import subprocess
import sys

import pytest

from app.trainer.confinement.memory import memory_ran_out
from tests.support.processes.apps import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this limit")

LIMITED = """
import torch, resource
from app.trainer.confinement.memory import limit_memory, memory_ran_out
limit_memory({allowed})
kept = []
try:
    for _ in range(64):
        kept.append({act})
    print("all of it")
except Exception as error:
    found = memory_ran_out(error)
    del kept
    print(type(error).__name__, found.text if found else repr(error))
"""


def ended(act: str, *, allowed: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", LIMITED.format(allowed=allowed, act=act)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout


@pytest.mark.parametrize("act", ["torch.ones(2**22)", "bytearray(2**24)"])
def test_memory_beyond_the_limit_is_refused_in_words(act: str) -> None:
    said = ended(act, allowed=2**28)
    assert "terms.max_memory: the trainer needs more memory than it may take" in said
    assert ended(act, allowed=2**31) == "all of it\n"


def test_other_errors_are_none_of_its_business() -> None:
    assert memory_ran_out(RuntimeError("size mismatch")) is None
    assert memory_ran_out(MemoryError()) is not None
