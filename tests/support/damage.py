"""Ways in which a file gets damaged, for tests: the same each time."""

import random
from collections.abc import Iterator
from pathlib import Path

KINDS = ("empty", "short", "bits", "bytes", "zeros", "longer", "text")


def damages(path: Path, *, times: int) -> Iterator[str]:
    """Damage a file so many times, each time from what it was at first; gives what was done."""
    whole, chance = path.read_bytes(), random.Random(path.name)
    for number in range(times):
        kind = KINDS[number % len(KINDS)]
        content = bytearray(whole)
        match kind:
            case "empty":
                content.clear()
            case "short":
                del content[chance.randrange(1, len(content)) :]
            case "bits":
                for _ in range(1 + number // len(KINDS)):
                    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            case "bytes":
                begin = chance.randrange(len(content))
                content[begin : begin + 20] = chance.randbytes(20)
            case "zeros":
                begin = chance.randrange(len(content))
                content[begin : begin + 512] = bytes(len(content[begin : begin + 512]))
            case "longer":
                content += chance.randbytes(100)
            case "text":
                content[:] = b"# nothing of ours\n" * (1 + number)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        yield f"{kind}, number {number}"
