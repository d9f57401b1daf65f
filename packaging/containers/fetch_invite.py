"""Fetches the invite of a swarm from its door: ``fetch_invite.py http://door:8000/spec FILE``.

Runs before a contributor does, so that nobody has to copy the door's address, which holds its key.
The app validates the file when it reads it.
"""

import sys
import urllib.request
from pathlib import Path

SECONDS = 20.0
LONGEST = 64 * 1024  # bytes, as the app reads at most


def main(url: str, file: Path) -> int:
    """The exit status."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as reply:
            content = reply.read(LONGEST + 1)
    except OSError as error:
        print(f"{url}: {error}")
        return 1
    if len(content) > LONGEST:
        print(f"{url}: more than {LONGEST} bytes")
        return 1
    unfinished = file.with_name(file.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(file)  # a contributor that restarts meanwhile reads a whole one
    print(f"{url}: {len(content)} bytes, now {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
