"""A hostile program that holds many connections to the local API open with requests that never end.

``python half_open.py PORT COUNT`` opens COUNT connections, says "ready", and opens a new one for
each that is cut, until its standard input ends.
"""

import asyncio
import contextlib
import itertools
import resource
import sys

BEGINNINGS = (
    b"",
    b"G",
    b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n",
    b"POST /api/v1/hivemind/start HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx",
)


async def hold(port: int, beginnings: "itertools.cycle[bytes]", opened: asyncio.Semaphore) -> None:
    """Hold one connection, again and again."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(next(beginnings))
            opened.release()
            await reader.read()
            writer.close()


async def main(port: int, count: int) -> None:
    """Hold all of them."""
    beginnings, opened = itertools.cycle(BEGINNINGS), asyncio.Semaphore(0)
    holding = [asyncio.create_task(hold(port, beginnings, opened)) for _ in range(count)]
    for _ in range(count):
        await opened.acquire()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for each in holding:
        each.cancel()


if __name__ == "__main__":
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
