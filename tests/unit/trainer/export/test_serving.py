"""The process that exports: one order in, reports out, and an end with the app."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from app import pipe, protocol
from app.takeout.messages import ExportOrder, Upload

ROOT = Path(__file__).resolve().parents[4]


def order(folder: Path) -> ExportOrder:
    return Upload(
        folder=str(folder), repository="ada/x", public=False, overwrite=False, token="hf_secret"
    )


def serve(line: bytes) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "--trainer", "--export"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9"},
    )
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()
    return process


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, list[dict[str, Any]], str]:
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        said, log = process.stdout.read(), process.stderr.read()
    return process.returncode, [json.loads(line) for line in said.splitlines()], log.decode()


def test_an_error_is_reported_and_the_token_never_logged(tmp_path: Path) -> None:
    status, (hello, problem), log = ended(serve(pipe.encode(order(tmp_path))))
    assert status == 1
    assert hello["version"] == protocol.VERSION
    assert (problem["type"], problem["field"]) == ("TrainerProblem", str(tmp_path))
    assert "hf_secret" not in log


def test_without_an_order_it_ends() -> None:
    status, _reports, log = ended(serve(b"{}\n"))
    assert status == 1
    assert "ProtocolError" in log
