"""Messages with tensors, as hivemind's averagers send them."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any


def message(size: int) -> Any:
    return SimpleNamespace(tensor_part=SimpleNamespace(buffer=b"x" * size))


async def messages(*sizes: int) -> AsyncIterator[Any]:
    for size in sizes:
        yield message(size)
