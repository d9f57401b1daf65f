"""A trainer that hostile data has taken over: what the kernel still lets it do.

Each try is a process of its own, confined as the trainer confines itself. Its home lies outside the
folders for temporary files, which a trainer may use.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import pipe, protocol
from app.takeout.messages import FetchWeights
from tests.support.processes.apps import ROOT, lone_spec, tiny_spec
from tests.support.processes.workers import Worker
from tests.support.training.orders import ORDER

landlockpy = pytest.importorskip("landlockpy")  # installed on Linux only

pytestmark = pytest.mark.skipif(
    not landlockpy.supported(), reason="this kernel doesn't offer Landlock"
)

CONFINED = """
import errno, json, os, signal, subprocess, sys
from pathlib import Path
from app import pipe, protocol
from app.takeout.messages import decode_order
from app.trainer.confinement.confine import confine, confine_fetcher

home, app = Path(os.environ["HOME"]), os.getppid()
order = sys.stdin.buffer.read()
if b'"FetchWeights"' in order:
    confine_fetcher(decode_order(order))
else:
    confine(pipe.decode_command(order))

def outcome(act):
    try:
        return str(act())
    except OSError as error:
        return errno.errorcode[error.errno]

def append(path):
    with open(path, "a") as stream:
        stream.write("x")

def fetch(path):
    return Path(path).read_text()

def in_child(path):
    return subprocess.run(["cat", str(path)], capture_output=True, text=True).stdout
"""


@pytest.fixture
def home_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ct-home-") as name:
        home = Path(name)
        monkeypatch.setenv("HOME", name)
        monkeypatch.delenv("XDG_CACHE_HOME")
        for folder in (".ssh", "data", "identities", "texts", ".cache/huggingface"):
            (home / folder).mkdir(parents=True)
        (home / ".ssh" / "id_ed25519").write_text("secret key")
        (home / ".bashrc").write_text("# mine\n")
        (home / ".cache" / "huggingface" / "token").write_text("secret token")
        (home / "identities" / "machine.pem").write_text("secret machine key")
        (home / "identities" / "trainer.pem").write_text("own key")
        (home / "texts" / "named.txt").write_text("named")
        (home / "texts" / "other.txt").write_text("not named")
        yield home


def order_for(home: Path, **changes: Any) -> bytes:
    fields = {name: getattr(ORDER, name) for name in ORDER.__struct_fields__} | {
        "spec": tiny_spec(
            dataset_info={"source": "files", "paths": [str(home / "texts" / "named.txt")]}
        ),
        "identity_file": str(home / "identities" / "trainer.pem"),
        "checkpoint_dir": str(home / "data" / "checkpoints" / "run"),
        "cache_dir": str(home / "data" / "cache"),
        "tuning_file": str(home / "data" / "tuning.json"),
    }
    return pipe.encode(protocol.Start(**fields | changes))


def tried(home: Path, *acts: str, **changes: Any) -> dict[str, str]:
    """What comes of expressions in a confined trainer, one after the other: values or errors."""
    return tried_with(order_for(home, **changes), *acts)


def tried_with(order: bytes, *acts: str) -> dict[str, str]:
    code = f"{CONFINED}\nprint(json.dumps([outcome(lambda: eval(act)) for act in {acts!r}]))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        input=order,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return dict(zip(acts, json.loads(ended.stdout), strict=True))


REFUSED = (
    "fetch(home / '.ssh/id_ed25519')",
    "fetch(home / '.bashrc')",
    "fetch(home / 'identities/machine.pem')",
    "fetch(home / '.cache/huggingface/token')",
    "fetch(home / 'texts/other.txt')",
    "fetch('/proc/self/root' + str(home / '.bashrc'))",
    "os.listdir(home)",
    "append(home / '.bashrc')",
    "append(home / 'texts/named.txt')",
    "append(home / 'new.txt')",
    "append(home / 'data/new.txt')",
    "append('/etc/new.txt')",
    "(home / '.bashrc').unlink()",
    "(home / 'data/cache/link').symlink_to(home / '.bashrc') or fetch(home / 'data/cache/link')",
    "os.readlink(f'/proc/{app}/cwd')",
)
ALLOWED = (
    "fetch(home / 'texts/named.txt') and None",
    "fetch('/etc/hosts') and None",
    "fetch(home / 'identities/trainer.pem') and None",
    "append(home / 'data/checkpoints/run/epoch.pt')",
    "os.makedirs(home / 'data/cache/compiled/deep')",
    "append(home / 'data/tuning.json')",
    "append('/dev/null')",
    "append('/dev/shm/ct-confined') or os.unlink('/dev/shm/ct-confined')",
    "os.kill(os.getpid(), signal.SIGCONT)",
)


def test_the_users_files_are_refused(home_of_its_own: Path) -> None:
    assert tried(home_of_its_own, *REFUSED) == dict.fromkeys(REFUSED, "EACCES")


def test_its_own_work_is_allowed(home_of_its_own: Path) -> None:
    assert tried(home_of_its_own, *ALLOWED) == dict.fromkeys(ALLOWED, "None")


def test_no_way_leads_around_it(home_of_its_own: Path) -> None:
    linked = "os.link(home / '.bashrc', home / 'data/cache/link')"
    moved = "os.rename(home / '.bashrc', home / 'data/cache/moved')"
    secret = "in_child(home / '.bashrc')"
    named = "in_child(home / 'texts/named.txt')"
    found = tried(home_of_its_own, linked, moved, secret, named)
    assert {found[linked], found[moved]} <= {"EXDEV", "EACCES"}
    assert (found[secret], found[named]) == ("", "named")


def test_programs_outside_get_no_signals(home_of_its_own: Path) -> None:
    if landlockpy.abi_version() < 6:
        pytest.skip("this kernel's Landlock doesn't hold signals")
    act = "os.kill(app, signal.SIGCONT)"
    assert tried(home_of_its_own, act) == {act: "EPERM"}


def test_the_first_start_makes_its_key_but_opens_no_other(home_of_its_own: Path) -> None:
    (home_of_its_own / "identities" / "trainer.pem").unlink()
    own, other = "identities/trainer.pem", "identities/machine.pem"
    acts = [f"len((home / {name!r}).read_bytes()) > 1000" for name in (own, other)]
    assert list(tried(home_of_its_own, *acts).values()) == ["True", "EACCES"]


def test_a_sign_in_at_the_hub_is_left_to_it_if_the_user_says_so(home_of_its_own: Path) -> None:
    act = "fetch(home / '.cache/huggingface/token')"
    assert tried(home_of_its_own, act, hub_sign_in=True) == {act: "secret token"}


def test_no_token_is_left_in_the_environment(
    home_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    act = "__import__('huggingface_hub').get_token()"
    assert tried(home_of_its_own, act) == {act: "None"}
    assert tried(home_of_its_own, act, hub_sign_in=True) == {act: "secret"}


def test_it_is_killed_first_when_memory_runs_out(home_of_its_own: Path) -> None:
    score = Path("/proc/self/oom_score_adj")
    if not os.access(score, os.W_OK):
        pytest.skip("the score can't be set here")
    act = "fetch('/proc/self/oom_score_adj').strip()"
    assert tried(home_of_its_own, act) == {act: "800"}


def test_what_fetches_weights_is_confined_too(home_of_its_own: Path) -> None:
    home = home_of_its_own
    order = FetchWeights(
        spec=tiny_spec(),
        initial_peers=(),
        identity_file=str(home / "identities" / "trainer.pem"),
        roster_file=str(home / "data" / "rosters" / "run"),
        cache_dir=str(home / "data" / "cache"),
        folder=str(home / "data" / "watched"),
    )
    allowed = (
        "append(home / 'data/watched/epoch.pt')",
        "append(home / 'data/cache/any')",
        "fetch(home / 'identities/trainer.pem') and None",
        "os.listdir(home / 'data/rosters') or None",
    )
    refused = (
        *("fetch(home / '.ssh/id_ed25519')", "fetch(home / 'identities/machine.pem')"),
        *("fetch(home / 'texts/named.txt')", "fetch(home / '.cache/huggingface/token')"),
        *("append(home / 'data/checkpoints')", "append(home / 'data/rosters/run')"),
    )
    found = tried_with(pipe.encode(order), *allowed, *refused)
    assert {act: found[act] for act in allowed} == dict.fromkeys(allowed, "None")
    assert {act: found[act] for act in refused} == dict.fromkeys(refused, "EACCES")


@pytest.mark.slow
async def test_a_confined_trainer_trains_and_resumes(home_of_its_own: Path) -> None:
    """Its DHT process, p2pd and averagers, the cache, the checkpoints: all within its places."""
    named = home_of_its_own / "texts" / "named.txt"
    named.write_text("hello world\n" * 1000)
    options = {
        "spec": lone_spec(dataset_info={"source": "files", "paths": [str(named)]}),
        "identity_file": str(home_of_its_own / "identities" / "trainer.pem"),
        "tuning_file": str(home_of_its_own / "data" / "tuning.json"),
    }
    (home_of_its_own / "identities" / "trainer.pem").unlink()
    for resumed in (False, True):
        worker = Worker(home_of_its_own / "data")
        await worker.start(**options)
        await worker.until(lambda worker=worker: bool(worker.all(protocol.CheckpointSaved)))
        (ready,) = worker.all(protocol.Ready)
        assert (ready.resumed_epoch is not None) == resumed
        outcome = await worker.trainer.stop()
        assert outcome.reason is protocol.EndReason.STOPPED
