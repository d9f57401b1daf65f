"""The whole way of a hub's data set, from a hub of our own on the loopback.

In a child process, as the library reads the hub's address once, when it is imported.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.network.model_hub import ModelHub, running_hub

ROOT = Path(__file__).parents[4]
ROWS = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(200)).encode()
SPEC = """
import sys
from pathlib import Path
from app.common.errors import DataError
from app.spec import schema as spec
from app.trainer.data.opening import open_data, open_held_out
from app.trainer.pinned.downloads import Downloads

downloads = Downloads(cache=Path(sys.argv[1]), sign_in=len(sys.argv) > 4)
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
    batches = open_data(spec.parse(content), identity=b"me", downloads=downloads)
    sys.stdout.buffer.write(bytes(batches.next(8).flatten().tolist()))
    batches.close()
except DataError as error:
    sys.exit(error.text)
"""
)
HOLD = (
    SPEC
    + """
apart = open_held_out(spec.parse(content), downloads=downloads)
sys.stdout.buffer.write(bytes(apart.tokens) + bytes([10]))
"""
)


@pytest.fixture
def hub() -> Iterator[ModelHub]:
    """A running hub."""
    with running_hub() as running:
        running.data_sets["us/rows"] = {"data/train.jsonl": ROWS}
        yield running


def draw(
    hub: ModelHub,
    folder: Path,
    *options: str,
    name: str = "us/rows",
    split: str = "train",
    script: str = DRAW,
) -> subprocess.CompletedProcess[bytes]:
    hub_variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": "hf_secret"}
    return subprocess.run(
        [sys.executable, "-c", script, str(folder / "cache"), name, split, *options],
        cwd=ROOT,
        env=os.environ | hub_variables,
        capture_output=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
def test_nothing_of_a_data_set_is_drawn_and_held_out(hub: ModelHub, tmp_path: Path) -> None:
    ended = draw(hub, tmp_path, script=HOLD + DRAW)
    assert ended.returncode == 0, ended.stderr.decode()
    kept, _newline, drawn = ended.stdout.partition(b"\n")
    apart = set(kept.split(b"\0")) - {b""}
    assert 0 < len(apart) < 40  # of 200 rows
    assert not apart & set(drawn.split(b"\0")[1:-1])


def test_a_data_set_is_streamed(hub: ModelHub, tmp_path: Path) -> None:
    ended = draw(hub, tmp_path)
    assert ended.returncode == 0, ended.stderr.decode()
    first, *documents, last = ended.stdout.split(b"\0")
    assert set(documents) <= {b"row %d" % number for number in range(200)}
    assert len(documents) > 40
    assert first.startswith(b"row ")
    assert b"row ".startswith(last) or last.startswith(b"row ")
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "split", "reason"),
    [
        ("us/none", "train", "us/none can't be streamed: Dataset 'us/none' doesn't exist"),
        ("us/rows", "test", "us/rows can't be streamed: Bad split: test"),
    ],
)
def test_what_the_hub_lacks_is_named(
    hub: ModelHub, tmp_path: Path, name: str, split: str, reason: str
) -> None:
    ended = draw(hub, tmp_path, name=name, split=split)
    assert ended.returncode == 1
    assert f"dataset_info.name: the data set {reason}" in ended.stderr.decode()


def test_a_card_that_points_at_our_files_is_refused(hub: ModelHub, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"text": "secret"}\n')
    hub.data_sets["us/rows"]["README.md"] = (
        f"---\nconfigs:\n- config_name: default\n  data_files: {secret}\n---".encode()
    )
    ended = draw(hub, tmp_path)
    assert ended.returncode == 1
    assert "dataset_info.name: the data set us/rows" in ended.stderr.decode()
    assert not ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "seen"), [((), {None}), (("sign-in",), {None, "Bearer hf_secret"})]
)
def test_the_users_token_is_sent_only_if_the_user_says_so(
    hub: ModelHub, tmp_path: Path, options: tuple[str, ...], seen: set[str | None]
) -> None:
    ended = draw(hub, tmp_path, *options)
    assert ended.returncode == 0, ended.stderr.decode()
    assert hub.tokens == seen or hub.tokens == seen - {None}
