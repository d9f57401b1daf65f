"""What a step frees is there for the next one, until a pause gives it back."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy as np
from app.trainer import heap

if sys.argv[1] == "keep":
    heap.keep()

def step():
    blocks = [np.ones(2**18) for _ in range(16)]  # 2 MiB each

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
heap.give_back()
"""


def faults(how: str) -> int:
    """Pages that the kernel had to give in some steps."""
    command = [sys.executable, "-c", STEPS, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told")
def test_a_step_finds_the_memory_of_the_last_one() -> None:
    assert faults("keep") < faults("leave") / 10
