"""Networks of several hosts on this machine: network namespaces on a switch, some behind a NAT.

The addresses look public, since libp2p tries to reach nobody at private ones; they exist inside
the namespaces only. Needs root, `ip` and, for a NAT, `nft`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SLOW_LINK = Path(__file__).with_name("slow_link.py")
PREFIX = "20.1.0"
PREFIX6 = "2a0a:cafe"


@cache
def why_not() -> str:
    """Why this machine can't have such networks, or ""."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        with internet() as net:
            net.host_behind_nat("probe")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip() or error}"
    return ""


def run(*command: str) -> None:
    """Run a command; its words are in the error when it fails."""
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)


@dataclass(frozen=True)
class Host:
    """A computer on the network. address, address6: its own; a NAT's inside isn't public."""

    name: str
    space: str
    address: str
    address6: str = ""

    def within(self, *command: str) -> tuple[str, ...]:
        """A command line that runs a command on this host."""
        return ("ip", "netns", "exec", self.space, *command)


class Internet:
    """A switch that hosts are plugged into; `cut` and `slow_down` are for one host's cable."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spaces: list[str] = []
        self._slow: dict[str, subprocess.Popen[bytes]] = {}
        self._core = self._make_space("core")
        self._ip("link", "add", "name", "switch", "type", "bridge")
        self._ip("link", "set", "dev", "switch", "up")

    def _make_space(self, name: str) -> str:
        space = f"{self._name}-{name}"
        run("ip", "netns", "add", space)
        self._spaces.append(space)
        run("ip", "-n", space, "link", "set", "dev", "lo", "up")
        return space

    def _ip(self, *words: str) -> None:
        run("ip", "-n", self._core, *words)

    def host(self, name: str) -> Host:
        """A host with public addresses, IPv4 and IPv6."""
        space = self._make_space(name)
        number = len(self._spaces)
        address, address6 = f"{PREFIX}.{number}", f"{PREFIX6}::{number:x}"
        self._ip(
            "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", space
        )
        self._ip("link", "set", "dev", name, "master", "switch", "up")
        run("ip", "-n", space, "address", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", space, "address", "add", f"{address6}/64", "dev", "eth0", "nodad")
        run("ip", "-n", space, "link", "set", "dev", "eth0", "up")
        return Host(name, space, address, address6)

    def host_behind_nat(self, name: str) -> Host:
        """A host with a private IPv4 address, behind a router that lets nobody in."""
        router = self.host(f"{name}-r")
        space = self._make_space(name)
        ip = ("ip", "-n", router.space)
        run(
            *ip,
            "link",
            "add",
            "name",
            "inside",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            space,
        )
        run(*ip, "address", "add", "192.168.7.1/24", "dev", "inside")
        run(*ip, "link", "set", "dev", "inside", "up")
        run("ip", "-n", space, "address", "add", "192.168.7.2/24", "dev", "eth0")
        run("ip", "-n", space, "link", "set", "dev", "eth0", "up")
        run("ip", "-n", space, "route", "add", "default", "via", "192.168.7.1")
        run(*router.within("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"))
        run(*router.within("nft", _MASQUERADE))
        return Host(router.name, space, "192.168.7.2")

    def cut(self, host: Host) -> None:
        """Pull the host's cable out."""
        self._ip("link", "set", "dev", host.name, "down")

    def restore(self, host: Host) -> None:
        """Put it in again."""
        self._ip("link", "set", "dev", host.name, "up")

    def limit(self, host: Host, rate: str, *, upload_only: bool = False) -> None:
        """Let the host's cable carry no more than a rate each way, in tc's words: ``5mbit``."""
        shape = ("root", "tbf", "rate", rate, "burst", "32kb", "latency", "400ms")
        run(*host.within("tc", "qdisc", "add", "dev", "eth0", *shape))
        if upload_only:
            return
        inside = ("ip", "netns", "exec", self._core)
        run(*inside, "tc", "qdisc", "add", "dev", host.name, *shape)

    def slow_down(self, host: Host, *, delay: float, loss: float) -> None:
        """Put a slow line between the host and the switch. delay: seconds one way; loss: 0 to 1."""
        far, near = f"{host.name}-f", f"{host.name}-n"
        self._ip("link", "add", "name", far, "type", "veth", "peer", "name", near)
        self._ip("link", "set", "dev", far, "up")
        self._ip("link", "set", "dev", host.name, "nomaster")
        self._ip("link", "set", "dev", near, "master", "switch", "up")
        python = (sys.executable, str(SLOW_LINK), host.name, far, str(delay), str(loss))
        command = ("ip", "netns", "exec", self._core, *python)
        line = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._slow[host.name] = line
        assert line.stdout is not None
        assert line.stdout.readline(), "the slow line did not open"

    def close(self) -> None:
        """Take it all down. What still runs on the hosts is not ended."""
        for line in self._slow.values():
            line.kill()
            line.wait()
            assert line.stdout is not None
            line.stdout.close()
        for space in reversed(self._spaces):
            run("ip", "netns", "delete", space)


_MASQUERADE = """
    table ip nat {
        chain out { type nat hook postrouting priority 100; oifname "eth0" masquerade; }
    }
    table ip filter {
        chain in {
            type filter hook forward priority 0; policy drop;
            iifname "inside" accept
            ct state established,related accept
        }
        chain own {
            type filter hook input priority 0; policy drop;
            ct state established,related accept
            iifname "inside" accept
        }
    }
"""


@contextmanager
def internet() -> Iterator[Internet]:
    """A network that is gone afterwards."""
    made = Internet(f"ct{os.getpid()}")
    try:
        yield made
    finally:
        made.close()
