"""The whole way of a hub's data set, from a small hub of our own on the loopback.

In a child process, as the library reads the hub's address once, when it is imported.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

ROOT = Path(__file__).parents[4]
COMMIT = "a" * 40
ROWS = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(200)).encode()
REPOSITORY = "/datasets/us/rows/resolve/"
SPEC = """
import sys
from pathlib import Path
from app.common.errors import DataError
from app.spec import schema as spec
from app.trainer.data.opening import open_data, open_held_out

content = {
    "run_id": "test",
    "model_config": {"model_type": "gpt2"},
    "training_params": {"target_batch_size": 4, "sequence_length": 63},
    "dataset_info": {"source": "hub", "name": sys.argv[2], "split": sys.argv[3]},
}
"""
DRAW = (
    SPEC
    + """
try:
    batches = open_data(
        spec.parse(content), identity=b"me", cache=Path(sys.argv[1]), hub_sign_in=len(sys.argv) > 4
    )
    sys.stdout.buffer.write(bytes(batches.next(8).flatten().tolist()))
    batches.close()
except DataError as error:
    sys.exit(error.text)
"""
)
HOLD = (
    SPEC
    + """
apart = open_held_out(spec.parse(content), cache=Path(sys.argv[1]))
sys.stdout.buffer.write(bytes(apart.tokens) + bytes([10]))
"""
)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's interface as one data set of one file needs."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}
    signed_in: ClassVar[set[str | None]] = set()
    """The tokens that came with requests."""

    def do_GET(self) -> None:
        self.signed_in.add(self.headers["Authorization"])
        path = self.path.partition("?")[0]
        if path.startswith(REPOSITORY):
            self.give_file(path.removeprefix(REPOSITORY).partition("/")[2])
        elif path.startswith("/api/datasets/us/rows/tree/"):
            self.give_json(self.entries(path.partition(COMMIT)[2].strip("/")))
        elif path.startswith("/api/datasets/us/rows"):
            self.give_json({"id": "us/rows", "sha": COMMIT, "siblings": [], "tags": []})
        else:
            self.give(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def entries(self, folder: str) -> list[dict[str, object]]:
        if not folder:
            return [{"type": "directory", "path": "data", "oid": "c" * 40}]
        return [
            {"type": "file", "path": path, "size": len(content), "oid": "b" * 40}
            for path, content in self.files.items()
            if path.startswith(folder + "/")
        ]

    def give_file(self, path: str) -> None:
        headers = {"X-Repo-Commit": COMMIT, "ETag": '"' + "b" * 40 + '"'}
        if path in self.files:
            self.give(200, self.files[path], headers)
        else:
            self.give(404, b"{}", headers | {"X-Error-Code": "EntryNotFound"})

    def give_json(self, content: object) -> None:
        self.give(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def give(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Not onto stderr."""


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a running hub."""
    Hub.files = {"data/train.jsonl": ROWS}
    Hub.signed_in.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def draw(
    hub: str,
    folder: Path,
    *options: str,
    name: str = "us/rows",
    split: str = "train",
    script: str = DRAW,
) -> subprocess.CompletedProcess[bytes]:
    hub_variables = {"HF_ENDPOINT": hub, "HF_HOME": str(folder / "hf"), "HF_TOKEN": "hf_secret"}
    return subprocess.run(
        [sys.executable, "-c", script, str(folder / "cache"), name, split, *options],
        cwd=ROOT,
        env=os.environ | hub_variables,
        capture_output=True,
        timeout=100,
        check=False,
    )


def test_nothing_of_a_data_set_is_drawn_and_held_out(hub: str, tmp_path: Path) -> None:
    ended = draw(hub, tmp_path, script=HOLD + DRAW)
    assert ended.returncode == 0, ended.stderr.decode()
    kept, _newline, drawn = ended.stdout.partition(b"\n")
    apart = set(kept.split(b"\0")) - {b""}
    assert 0 < len(apart) < 40  # of 200 rows
    assert not apart & set(drawn.split(b"\0")[1:-1])


def test_a_data_set_is_streamed(hub: str, tmp_path: Path) -> None:
    ended = draw(hub, tmp_path)
    assert ended.returncode == 0, ended.stderr.decode()
    first, *documents, last = ended.stdout.split(b"\0")
    assert set(documents) <= {b"row %d" % number for number in range(200)}
    assert len(documents) > 40
    assert first.startswith(b"row ")
    assert b"row ".startswith(last) or last.startswith(b"row ")
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("name", "split", "reason"),
    [
        ("us/none", "train", "us/none can't be streamed: Dataset 'us/none' doesn't exist"),
        ("us/rows", "test", "us/rows can't be streamed: Bad split: test"),
    ],
)
def test_what_the_hub_lacks_is_named(
    hub: str, tmp_path: Path, name: str, split: str, reason: str
) -> None:
    ended = draw(hub, tmp_path, name=name, split=split)
    assert ended.returncode == 1
    assert f"dataset_info.name: the data set {reason}" in ended.stderr.decode()


def test_a_card_that_points_at_our_files_is_refused(hub: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"text": "secret"}\n')
    Hub.files["README.md"] = (
        f"---\nconfigs:\n- config_name: default\n  data_files: {secret}\n---".encode()
    )
    ended = draw(hub, tmp_path)
    assert ended.returncode == 1
    assert "dataset_info.name: the data set us/rows" in ended.stderr.decode()
    assert not ended.stdout


@pytest.mark.parametrize(
    ("options", "seen"), [((), {None}), (("sign-in",), {None, "Bearer hf_secret"})]
)
def test_the_users_token_is_sent_only_if_the_user_says_so(
    hub: str, tmp_path: Path, options: tuple[str, ...], seen: set[str | None]
) -> None:
    ended = draw(hub, tmp_path, *options)
    assert ended.returncode == 0, ended.stderr.decode()
    assert Hub.signed_in == seen or Hub.signed_in == seen - {None}
