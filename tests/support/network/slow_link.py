"""A line between two network interfaces, as slow and lossy as wanted, frame by frame.

    python tests/support/network/slow_link.py ONE OTHER DELAY LOSS

DELAY: seconds one way. LOSS: share of the frames that get lost, 0 to 1. For kernels without
netem; needs the right to open packet sockets. Prints a line once it carries frames.
"""

import random
import selectors
import socket
import sys
import time
from collections import deque

ANY_PROTOCOL = 3
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
LONGEST_FRAME = 2**17
"""With segmentation left to the card, TCP's frames are far longer than the line's 1500 bytes."""


def plug_in(interface: str) -> socket.socket:
    """Takes and gives an interface's frames, each behind what the card is asked to do with it."""
    plug = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    plug.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    plug.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    plug.bind((interface, ANY_PROTOCOL))
    return plug


def carry(one: socket.socket, other: socket.socket, *, delay: float, loss: float) -> None:
    """Carry frames both ways, for ever."""
    selector = selectors.DefaultSelector()
    for source, target in ((one, other), (other, one)):
        selector.register(source, selectors.EVENT_READ, target)
    under_way: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        wait = under_way[0][0] - time.monotonic() if under_way else None
        for ready, _events in selector.select(wait):
            frame = ready.fileobj.recv(LONGEST_FRAME)  # type: ignore[union-attr]
            if random.random() >= loss:
                under_way.append((time.monotonic() + delay, ready.data, frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _due, target, frame = under_way.popleft()
            target.send(frame)


if __name__ == "__main__":
    ends = [plug_in(name) for name in sys.argv[1:3]]
    sys.stdout.write("open\n")
    sys.stdout.flush()
    carry(*ends, delay=float(sys.argv[3]), loss=float(sys.argv[4]))
