"""Builds the image without a registry, and proves compose.yaml: a door, two contributors that train
together through it, and Prometheus, each in a container.

    python3 packaging/containers/local/prove.py [--no-build]

Needs root, podman, docker-compose, mmdebstrap (Debian's packages), runc where crun refuses the
machine's cgroups, and some ten minutes of two cores. What it made is removed at the end, but for
the images. Grafana's image is in registries alone: instead, each query of the dashboard is put to
Prometheus.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
PROJECT = "cotrain-proof"
SERVICES = ("door", "contributor-1", "contributor-2", "prometheus")
CONTRIBUTORS = SERVICES[1:3]
PORTS = {name: 9090 if name == "prometheus" else 8000 for name in SERVICES}
ROUNDS = 3  # of two peers, in the log of each contributor
PATIENCE = 900.0  # seconds for what takes some, on a busy machine of two cores

# ports that are free, and only on loopback
OVERRIDE = "services:\n" + "".join(
    f'  {name}:\n    ports: !override ["127.0.0.1::{port}"]\n' for name, port in PORTS.items()
)


def run(*command: str, **options: Any) -> str:
    """Run a command to its end; returns its output."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def until(what: str, look: Callable[[], Any]) -> Any:
    """Look every few seconds until there is something; returns it."""
    began = time.monotonic()
    while not (found := look()):
        for name in CONTRIBUTORS:
            if inspected(name, "{{.RestartCount}}") != "0":
                told = [line["problem"] for line in lines(name) if line["problem"]]
                sys.exit(f"{name} had to be started again: {told[-1:]}")
        if time.monotonic() - began > PATIENCE:
            sys.exit(f"waited {PATIENCE:.0f} s in vain: {what}")
        time.sleep(3)
    print(f"{time.monotonic() - began:6.1f} s  {what}")
    return found


def proved(what: str, is_so: bool) -> None:
    """Say that it is so, or end."""
    if not is_so:
        sys.exit(f"not so: {what}")
    print(f"      ok  {what}")


# --- the machine


def settings_of_podman(work: Path) -> Path:
    """What podman needs where a shell has few rights: runc, and no higher limits than its own."""
    files = run("sh", "-c", "ulimit -Hn")
    file = work / "containers.conf"
    file.write_text(
        f'[containers]\ndefault_ulimits = ["nofile={files}:{files}"]\n'
        + ('[engine]\nruntime = "runc"\n' if Path("/usr/sbin/runc").exists() else "")
    )
    return file


@contextlib.contextmanager
def podman_as_docker(work: Path) -> Iterator[None]:
    """Serve podman where docker-compose finds it."""
    socket = f"unix://{work}/podman.sock"
    os.environ |= {
        "DOCKER_HOST": socket,
        "CONTAINERS_CONF": str(settings_of_podman(work)),
        "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        "COTRAIN_IMAGE": "localhost/cotrain-contributor:local",
        "PROMETHEUS_IMAGE": "localhost/cotrain-prometheus:local",
    }
    service = subprocess.Popen(["podman", "system", "service", "--time", "0", socket])
    try:
        yield
    finally:
        service.terminate()
        service.wait()


@contextlib.contextmanager
def health_checks() -> Iterator[None]:
    """Run the containers' health checks, which podman leaves to systemd."""
    ended = threading.Event()

    def check() -> None:
        while not ended.wait(3):
            for name in ("door", *CONTRIBUTORS):
                subprocess.run(
                    ["podman", "healthcheck", "run", container(name)],
                    check=False,
                    capture_output=True,
                )

    checking = threading.Thread(target=check)
    checking.start()
    try:
        yield
    finally:
        ended.set()
        checking.join()


def compose(*words: str) -> str:
    """Run docker-compose on our file."""
    files = ("-f", str(HERE / "compose.yaml"), "-f", f"{os.environ['PROOF']}/override.yaml")
    return run("docker-compose", "-p", PROJECT, *files, *words)


def container(service: str) -> str:
    """The name that docker-compose gives the container of a service."""
    return f"{PROJECT}-{service}-1"


def inspected(service: str, what: str) -> str:
    """What podman knows of a container. what: a template in Go's form."""
    return run("podman", "inspect", "--format", what, container(service))


def healthy(service: str) -> bool:
    """Whether the last health check went well."""
    return inspected(service, "{{.State.Health.Status}}") == "healthy"


# --- what the app tells


def lines(service: str) -> list[dict[str, Any]]:
    """The JSON lines that the app has written since the container was made."""
    told = run("podman", "logs", container(service)).splitlines()
    return [json.loads(line) for line in told if line.startswith('{"time"')]


def rounds_of_two(service: str) -> dict[int, dict[str, Any]]:
    """The rounds of both peers that went well, by epoch."""
    rounds = [line["last_round"] for line in lines(service) if line["last_round"]]
    return {
        each["epoch"]: each for each in rounds if each["peers"] == 2 and each["failure"] is None
    }


def peer_id(service: str) -> str:
    """The id by which others know the app's peer."""
    addresses = [line["addresses"] for line in lines(service) if line["addresses"]]
    return str(addresses[-1][0]).rpartition("/")[2]


def key(service: str) -> str:
    """A hash of the machine's key."""
    return run("podman", "exec", container(service), "sha256sum", "/data/identities/machine.pem")


def asked(service: str, path: str, *, token: str = "") -> tuple[int, str]:
    """Status and body of a GET from this machine."""
    place = run("podman", "port", container(service), f"{PORTS[service]}/tcp")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://{place}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def queried(expression: str) -> list[Any]:
    """Prometheus's answer to a query."""
    _status, body = asked("prometheus", f"/api/v1/query?query={urllib.parse.quote(expression)}")
    answer = json.loads(body)
    return answer["data"]["result"] if answer["status"] == "success" else sys.exit(body)


# --- the proof


def prove_training() -> None:
    """Both contributors average with each other, round after round, and learn."""
    until("all are healthy", lambda: all(healthy(name) for name in ("door", *CONTRIBUTORS)))
    for name in CONTRIBUTORS:
        until(
            f"{name}: {ROUNDS} rounds of two", lambda name=name: len(rounds_of_two(name)) >= ROUNDS
        )
        for epoch, each in sorted(rounds_of_two(name).items()):
            print(
                f"          epoch {epoch}: {each['peers']} peers, {each['seconds']:.1f} s,"
                f" {each['samples']} samples of its own, {each['bytes_sent']} bytes sent"
            )
    losses = [line["loss"] for line in lines(CONTRIBUTORS[0]) if line["loss"]]
    proved(f"the loss falls, {losses[0]:.2f} to {losses[-1]:.2f}", losses[-1] < losses[0])


def prove_api() -> None:
    """Each answers, tells its figures to who has the token, and Prometheus has them."""
    viewer = (HERE / "secrets" / "viewer-token").read_text()
    for name in ("door", *CONTRIBUTORS):
        told = json.loads(asked(name, "/health")[1])
        proved(f"{name}: /health tells {told}", told["status"] == "healthy")
    for name in CONTRIBUTORS:
        proved(f"{name}: /metrics needs a token", asked(name, "/metrics")[0] == 401)
        proved(f"{name}: the viewer's will do", asked(name, "/metrics", token=viewer)[0] == 200)
    until("Prometheus reaches all three", lambda: len(queried("up == 1")) == 3)
    board = json.loads((HERE.parent / "grafana" / "cotrain.json").read_text())
    queries = [each["expr"] for panel in board["panels"] for each in panel["targets"]]
    filled = [query for query in queries if queried(query.replace("$instance", ".*"))]
    rest = sorted(set(re.findall(r"cotrain_\w+", " ".join(set(queries) - set(filled)))))
    proved(f"{len(filled)} of {len(queries)} queries of the dashboard have data", len(filled) > 15)
    print(f"          the others: {', '.join(rest)}")


def prove_confinement() -> None:
    """The containers have no rights, and the image no secrets."""
    for name in ("door", *CONTRIBUTORS):
        shell = ("podman", "exec", container(name), "sh", "-c")
        owner = run(*shell, "stat -c %u:%a /data")
        user = run(*shell, "id -u")
        proved(f"{name}: user {user}, /data {owner}", (user, owner) == ("10001", "10001:700"))
        proved(
            f"{name}: its root can't be written", " ro," in run(*shell, "grep ' / ' /proc/mounts")
        )
        rights = run(*shell, "grep -h ^CapEff: /proc/1/status").split()[-1]
        proved(f"{name}: capabilities {rights}", int(rights, 16) == 0)
    places = ("/data", "/etc/cotrain", "/etc/pip.conf", "/run/secrets", "/root")
    search = ("--entrypoint", "find", os.environ["COTRAIN_IMAGE"], *places, "-type", "f")
    image = ("podman", "run", "--rm", "--network", "none", "--user", "0")
    found = subprocess.run([*image, *search], check=False, capture_output=True, text=True).stdout
    kept = [
        each for each in found.split() if not each.startswith(("/root/.bashrc", "/root/.profile"))
    ]
    proved(f"the image holds no keys, tokens or settings of who built it: {kept}", not kept)


def prove_volumes() -> None:
    """Containers that are made anew have their keys and checkpoints still, and train on."""
    first, second = CONTRIBUTORS
    before = {name: (peer_id(name), key(name)) for name in ("door", *CONTRIBUTORS)}
    epoch = max(rounds_of_two(first))
    compose("stop", first)
    proved(f"{first}: SIGTERM ends it with 0", inspected(first, "{{.State.ExitCode}}") == "0")
    saved = run(
        "podman", "volume", "inspect", "--format", "{{.Mountpoint}}", f"{PROJECT}_{first}-data"
    )
    checkpoints = [
        str(each.relative_to(saved))
        for each in Path(saved, "checkpoints").rglob("*")
        if each.is_file()
    ]
    proved(f"{first}: its volume has {', '.join(sorted(checkpoints)[:3])}", bool(checkpoints))
    compose("up", "-d", "--no-build", "--no-deps", "--force-recreate", first)
    until(f"{first}, made anew, trains in rounds of two", lambda: rounds_of_two(first))
    again = min(rounds_of_two(first))
    proved(f"{first}: goes on after epoch {epoch} (with {again})", again >= epoch)
    compose("up", "-d", "--no-build", "--no-deps", "--force-recreate", "door")
    until("the door, made anew, is healthy", lambda: healthy("door"))
    until("it has an address", lambda: any(line["addresses"] for line in lines("door")))
    for name in ("door", *CONTRIBUTORS):
        proved(f"{name}: has its keys still", (peer_id(name), key(name)) == before[name])
    until(
        "the door sees both trainers again",
        lambda: [line["peers"] for line in lines("door")][-1] == 2,
    )
    epoch = max(rounds_of_two(second))
    until("they train on", lambda: max(rounds_of_two(second)) > epoch)


def main() -> None:
    """Build, prove, and remove what was made."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--no-build", action="store_true", help="take the images that are there")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    os.nice(10)
    with tempfile.TemporaryDirectory() as folder, podman_as_docker(Path(folder)):
        os.environ["PROOF"] = folder
        Path(folder, "override.yaml").write_text(OVERRIDE)
        if not options.no_build:
            subprocess.run([HERE / "local" / "build.sh"], check=True)
        run("sh", str(HERE / "secrets.sh"))
        try:
            with health_checks():
                compose("up", "-d", "--no-build", *SERVICES)
                prove_training()
                prove_api()
                prove_confinement()
                prove_volumes()
        finally:
            compose("down", "--volumes")
    print("proved")


if __name__ == "__main__":
    main()
