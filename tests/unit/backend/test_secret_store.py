"""Keeping a sign-in, in keyrings that are classes of the `keyring` library like real ones."""

import asyncio
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.errors import KeyringError

from app.backend.errors import NotSignedInError
from app.backend.secret_store import Secrets, SecretStore

URL, EMAIL = "https://backend.example", "you@example.org"
SECRET = Secrets(refresh_token="a refresh token", password="a password")


class Keyring(KeyringBackend):
    """A keyring in memory."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class Unsafe(Keyring):
    """A keyring that the library rates as unsafe, such as one that writes plain text."""

    priority = 0.5  # type: ignore[assignment]


class Locked(Keyring):
    def set_password(self, service: str, username: str, password: str) -> None:
        raise KeyringError("locked")


class Hanging(Keyring):
    """A keyring that asks the user, and nobody answers."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def set_password(self, service: str, username: str, password: str) -> None:
        self.let_go.wait()


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """As on a server; each test may set another."""
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "account.json"


def content_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


async def test_in_the_keyring(file: Path) -> None:
    keyring.set_keyring(ring := Keyring())
    await SecretStore(file).keep(SECRET, url=URL, email=EMAIL)
    assert "token" not in content_of(file)
    assert len(ring.kept) == 1
    store = SecretStore(file)
    kept = await store.whose()
    assert kept is not None
    assert (kept.url, kept.email) == (URL, EMAIL)
    assert await store.secrets(kept) == SECRET
    await store.forget()
    assert not ring.kept
    assert not content_of(file)


@pytest.mark.parametrize("ring", [NoKeyring(), Unsafe(), Locked()])
async def test_in_a_file_of_the_owner_where_there_is_no_safe_keyring(
    file: Path, ring: KeyringBackend
) -> None:
    keyring.set_keyring(ring)
    await SecretStore(file).keep(SECRET, url=URL, email=EMAIL)
    assert mode_of(file) == 0o600
    store = SecretStore(file)
    kept = await store.whose()
    assert kept is not None
    assert await store.secrets(kept) == SECRET


async def test_a_keyring_that_hangs_is_left_alone(file: Path) -> None:
    keyring.set_keyring(ring := Hanging())
    kept = await SecretStore(file, seconds=0.05).keep(SECRET, url=URL, email=EMAIL)
    assert kept.secrets == SECRET
    ring.let_go.set()


async def test_a_keyring_that_gives_nothing_out_is_said(file: Path) -> None:
    keyring.set_keyring(Keyring())
    store = SecretStore(file)
    kept = await store.keep(SECRET, url=URL, email=EMAIL)
    keyring.set_keyring(NoKeyring())
    with pytest.raises(NotSignedInError, match="keyring doesn't give out"):
        await store.secrets(kept)


async def test_another_sign_in_replaces_the_one_before(file: Path) -> None:
    keyring.set_keyring(ring := Keyring())
    store = SecretStore(file)
    for email in ("one@example.org", "two@example.org"):
        kept = await store.keep(SECRET, url=URL, email=email)
    assert len(ring.kept) == 1
    assert await store.whose() == kept


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"url": 1}'])
def test_a_damaged_file_is_nobodys_sign_in(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert asyncio.run(SecretStore(file).whose()) is None


def test_secrets_dont_show() -> None:
    assert "token" not in repr(SECRET)
    assert "password" not in str(SECRET)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every system has a keyring")
def test_a_linux_server_neither_asks_nor_hangs(file: Path) -> None:
    """As the keyring library finds this machine: no session bus, no display, no terminal."""
    code = (
        "import asyncio, pathlib, sys\n"
        "from app.backend.secret_store import Secrets, SecretStore\n"
        "store = SecretStore(pathlib.Path(sys.argv[1]))\n"
        "keep = store.keep(Secrets(refresh_token='t'), url='u', email='e')\n"
        "kept = asyncio.run(keep)\n"
        "print('keyring' if kept.entry else 'file')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        cwd=Path(__file__).parents[3],
        env={"HOME": str(file.parent), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "file"), ended.stderr
