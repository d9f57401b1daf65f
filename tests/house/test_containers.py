"""Image, compose file and Kubernetes manifests: they start what they say, with settings that the
app knows, and give no rights. ``packaging/containers/local/prove.py`` runs them for real."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from app import cli
from app.callback.tokens import ApiTokens, Role
from app.settings import loading
from app.settings.settings import Settings
from app.spec import invite
from app.terms.terms import Terms

ROOT = Path(__file__).parents[2]
HERE = ROOT / "packaging" / "containers"
CONTAINERFILE = (HERE / "Containerfile").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "tests/data/kubernetes-1.37.0.json").read_text(encoding="utf-8"))
KNOWN = {str(field.validation_alias) for field in Settings.model_fields.values()} | {
    f"COTRAIN_TERMS__{name.upper()}" for name in Terms.model_fields
}
PORTS = {"PORT": 8000, "HIVEMIND_DHT_PORT": 8080, "HIVEMIND_SERVER_PORT": 8081}  # the contract's
INVITE = "/etc/cotrain/swarm.cotrain"


def read_yaml(name: str) -> Any:
    """A file, with what an empty environment puts in."""
    text = (HERE / name).read_text(encoding="utf-8")
    return list(yaml.safe_load_all(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)))


(COMPOSE,) = read_yaml("compose.yaml")
MANIFESTS = [
    each
    for file in sorted((HERE / "kubernetes").iterdir())
    for each in read_yaml(f"kubernetes/{file.name}")
]
PODS = [each["spec"]["template"]["spec"] for each in MANIFESTS if "template" in each["spec"]]


@dataclass(frozen=True)
class Started:
    """A container that starts the app."""

    name: str
    words: list[str]
    """What follows the image's entry point."""

    environment: dict[str, str]


def of_compose() -> Iterator[Started]:
    for name, service in COMPOSE["services"].items():
        if "cotrain" in service["image"] and "entrypoint" not in service:
            environment = {key: str(value) for key, value in service["environment"].items()}
            yield Started(name, service["command"], environment)


def of_kubernetes() -> Iterator[Started]:
    for pod in PODS:
        for container in pod["containers"]:
            environment = {each["name"]: each.get("value", "") for each in container["env"]}
            yield Started(f"kubernetes-{container['name']}", container["args"], environment)


def of_image() -> Started:
    block = re.search(r"^ENV ((?:.+\\\n)+.+)$", CONTAINERFILE.split("\nFROM ")[-1], re.MULTILINE)
    assert block is not None
    named = re.findall(r"(\w+)=(\S+)", block[1])
    own = {name: value for name, value in named if name in KNOWN or "COTRAIN" in name}
    return Started("image", instruction("CMD"), own)


def instruction(name: str) -> list[str]:
    found: list[str] = json.loads(
        re.findall(rf"^{name} (\[.+\])$", CONTAINERFILE, re.MULTILINE)[-1]
    )
    return found


STARTED = [of_image(), *of_compose(), *of_kubernetes()]
each_started = pytest.mark.parametrize("started", STARTED, ids=[each.name for each in STARTED])
each_pod = pytest.mark.parametrize(
    "pod", PODS, ids=[each["containers"][0]["name"] for each in PODS]
)


# --- what is started


@each_started
def test_command_is_one_that_the_app_takes(started: Started) -> None:
    asked = cli.parse(["--data-dir", "/data", *started.words])
    assert (asked.headless, str(asked.data_dir)) == (True, "/data")
    assert asked.bootstrap is ("door" in started.name)
    assert asked.serve is (started.name in ("image", "serve"))
    assert asked.swarm == ("" if asked.serve else INVITE)


@each_started
def test_environment_holds_only_settings_of_the_app_with_values_that_it_takes(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(started.environment) <= KNOWN
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    settings = loading.load(None)
    assert (settings.callback_port, settings.dht_port, settings.server_port) == (8000, 8080, 8081)
    if started.name != "image":  # probes, Prometheus and the door's visitors come from elsewhere
        assert settings.callback_host == "0.0.0.0"


def test_all_ways_to_start_are_there() -> None:
    names = [each.name for each in STARTED]
    assert names == [
        "image",
        "door",
        "contributor-1",
        "contributor-2",
        "serve",
        "kubernetes-contributor",
        "kubernetes-door",
    ]


def test_entry_point_keeps_all_on_the_volume() -> None:
    assert instruction("ENTRYPOINT") == ["tini", "--", "cotrain-contributor"]
    script = (HERE / "cotrain-contributor").read_text(encoding="utf-8")
    assert 'main.py --data-dir /data "$@"' in script.splitlines()[-1]
    assert (HERE / "cotrain-contributor").stat().st_mode & 0o111
    assert re.search(r"^VOLUME /data$", CONTAINERFILE, re.MULTILINE)


# --- image


def test_image_exposes_the_contracts_ports_as_nobody_in_particular() -> None:
    (exposed,) = re.findall(r"^EXPOSE (.+)$", CONTAINERFILE, re.MULTILINE)
    assert {int(each) for each in exposed.split()} == set(PORTS.values())
    assert re.findall(r"^USER (.+)$", CONTAINERFILE, re.MULTILINE) == ["10001:10001"]


def test_image_copies_what_is_there_and_nothing_more_reaches_its_builder() -> None:
    copied = [
        word
        for line in re.findall(r"^COPY (.+)$", CONTAINERFILE, re.MULTILINE)
        if "--from" not in line
        for word in line.split()[:-1]
        if not word.startswith("--")
    ]
    assert "app" in copied
    assert [each for each in copied if not (ROOT / each).exists()] == []
    lines = (HERE / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    allowed = tuple(line[1:] for line in lines if line.startswith("!"))
    assert [each for each in copied if not each.startswith(allowed)] == []
    assert "packaging/containers/secrets" in lines


def test_image_has_the_apps_libraries_without_the_windows(tmp_path: Path) -> None:
    for name in (ROOT / "pyproject.toml", HERE / "requirements.py"):
        shutil.copy(name, tmp_path)
    printed = [
        subprocess.run(
            [sys.executable, "requirements.py", *extra],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for extra in ([], ["setup"])
    ]
    assert all(
        re.search(rf"^{name}[<>=]", printed[0], re.MULTILINE) for name in ("torch", "hivemind")
    )
    assert not re.search("pyside|pyqtgraph|qasync", printed[0], re.IGNORECASE)
    assert printed[1].startswith("babel")


# --- compose


def test_services_have_no_rights_and_a_volume_for_what_they_keep() -> None:
    for name in ("door", "contributor-1", "contributor-2", "serve", "invite"):
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        kept = [each for each in service["volumes"] if each.endswith(":/data")]
        assert kept == ([] if name == "invite" else [f"{name}-data:/data"])
    published = [port for each in COMPOSE["services"].values() for port in each.get("ports", [])]
    beyond = [port for port in published if not port.startswith("127.0.0.1:")]
    assert beyond == ["8080:8080"]  # the door, for peers


def test_prometheus_asks_services_by_names_that_they_allow() -> None:
    (config,) = read_yaml("prometheus.yml")
    targets = {
        target: "authorization" in job
        for job in config["scrape_configs"]
        for each in job["static_configs"]
        for target in each["targets"]
    }
    assert targets == {"door:8000": False, "contributor-1:8000": True, "contributor-2:8000": True}
    for target in targets:
        name = target.partition(":")[0]
        environment = COMPOSE["services"][name]["environment"]
        assert environment["COTRAIN_CALLBACK_ALLOWED_HOSTS"] == name


def test_grafana_shows_our_dashboard_from_prometheus() -> None:
    mounted = [each.split(":") for each in COMPOSE["services"]["grafana"]["volumes"]]
    files = {inside: HERE / outside for outside, inside, *_ in mounted if outside.startswith(".")}
    (source,) = read_yaml("grafana/datasource.yaml")
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    (provider,) = read_yaml("grafana/dashboards.yaml")
    boards = Path(provider["providers"][0]["options"]["path"])
    (board,) = [file for inside, file in files.items() if Path(inside).parent == boards]
    assert json.loads(board.read_text(encoding="utf-8"))["uid"] == "cotrain-machines"
    assert all(file.exists() for file in files.values())


def test_secrets_are_made_once_and_are_what_the_app_reads(tmp_path: Path) -> None:
    shutil.copy(HERE / "secrets.sh", tmp_path)
    made = []
    for _again in range(2):
        subprocess.run(["sh", str(tmp_path / "secrets.sh")], check=True)
        made.append({file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()})
    assert made[0] == made[1]
    needed = {Path(each["file"]).name for each in COMPOSE["secrets"].values()}
    assert set(made[0]) == needed == set(COMPOSE["secrets"])
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    shutil.copy(tmp_path / "secrets" / "callback-tokens.json", tmp_path / "tokens.json")
    tokens = ApiTokens(tmp_path / "tokens.json")
    assert tokens.role_of(made[0]["viewer-token"]) is Role.VIEWER
    assert json.loads(made[0]["callback-tokens.json"])["operator"] == tokens.of(Role.OPERATOR)


def test_example_is_an_invite() -> None:
    assert invite.load(str(HERE / "swarm.cotrain")).run_id == "containers-example"


# --- Kubernetes


def complaints(manifest: dict[str, Any]) -> list[str]:
    """What a cluster of version 1.37 would refuse."""
    schema = {**SCHEMA["kinds"][manifest["kind"]], "$defs": SCHEMA["$defs"]}
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(manifest)]


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=[f"{each['kind']}-{each['metadata']['name']}" for each in MANIFESTS]
)
def test_kubernetes_takes_the_manifest(manifest: dict[str, Any]) -> None:
    assert complaints(manifest) == []


def test_a_manifest_with_a_mistake_is_caught() -> None:
    wrong = json.loads(json.dumps(next(each for each in MANIFESTS if each["kind"] == "Deployment")))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    assert "livenesProbe" in complaints(wrong)[0]


@each_pod
def test_pod_has_no_rights(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # COTRAIN_DOOR_PORT would be no setting of ours
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@each_pod
def test_pod_is_probed_at_health_and_its_ports_are_those_of_the_settings(
    pod: dict[str, Any],
) -> None:
    (container,) = pod["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
    told = {
        each["name"]: int(each.get("value", 0))
        for each in container["env"]
        if "PORT" in each["name"]
    }
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert list(ports.values()) == list(told.values())
    assert told.items() <= PORTS.items()
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert {"/data", "/tmp", "/etc/cotrain"} <= mounts


def test_contributors_ask_for_a_gpu_and_enter_by_the_doors_service() -> None:
    (contributors,) = [each for each in MANIFESTS if each["kind"] == "StatefulSet"]
    pod = contributors["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    url, file = pod["initContainers"][0]["args"]
    assert (url, file) == ("http://cotrain-door:8000/spec", INVITE)
    services = {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] == "Service"}
    assert {"cotrain-door", contributors["spec"]["serviceName"]} == set(services)
    (door,) = [each for each in STARTED if each.name == "kubernetes-door"]
    assert door.environment["COTRAIN_CALLBACK_ALLOWED_HOSTS"] == "cotrain-door"
    assert door.environment["COTRAIN_ANNOUNCE"] == "cotrain-door"


# --- what runs in the containers beside the app


class Replying(BaseHTTPRequestHandler):
    """Answers each GET with `content`."""

    content = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Nothing on the test's output."""


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server on loopback that answers with `Replying.content`."""
    with HTTPServer(("127.0.0.1", 0), Replying) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"status": "healthy", "service": "hivemind"}', 0),
        (b'{"status": "healthy", "service": "another"}', 1),
        (b"<html>", 1),
    ],
)
def test_health_check_believes_only_the_app(
    content: bytes, status: int, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Replying, "content", content)
    environment = {**os.environ, "PORT": str(port)}
    environment.pop("COTRAIN_CALLBACK_CERTIFICATE", None)
    asked = [sys.executable, str(HERE / "healthcheck.py")]
    assert (
        subprocess.run(asked, check=False, env=environment, capture_output=True).returncode
        == status
    )


@pytest.mark.parametrize(("length", "status"), [(64 * 1024, 0), (64 * 1024 + 1, 1)])
def test_invite_is_fetched_whole_or_not_at_all(
    length: int, status: int, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Replying, "content", b"x" * length)
    file = tmp_path / "swarm.cotrain"
    file.write_text("before")
    command = [
        sys.executable,
        str(HERE / "fetch_invite.py"),
        f"http://127.0.0.1:{port}/spec",
        str(file),
    ]
    assert subprocess.run(command, check=False, capture_output=True).returncode == status
    assert file.read_text() == ("before" if status else "x" * length)
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["swarm.cotrain"]
