"""The machine's key, its signatures, and canonical JSON."""

import base64
import json
import math
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import MachineKeyError
from app.common.signing import MachineKey, as_text, canonical, fits_together, from_text, verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identities" / "machine.pem"


# --- the key -------------------------------------------------------------------------------------


def test_key_is_made_once(path: Path) -> None:
    first = MachineKey.load_or_create(path)
    assert MachineKey.load_or_create(path).public_key == first.public_key


def test_key_is_for_its_owner_alone(path: Path) -> None:
    MachineKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    MachineKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_threads_that_create_the_key_at_once_get_the_same_key(path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(MachineKey.load_or_create(path).public_key))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (8, 1)


def test_two_machines_have_two_keys(tmp_path: Path) -> None:
    keys = {MachineKey.load_or_create(tmp_path / name).public_key for name in ("a", "b")}
    assert len(keys) == 2


def test_public_key_is_32_bytes_in_base64(path: Path) -> None:
    assert len(base64.b64decode(MachineKey.load_or_create(path).public_key, validate=True)) == 32


DAMAGED = {
    "empty": b"",
    "cut off": b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw",
    "noise": bytes(range(256)),
    "of another kind": generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_key_is_explained_and_stays(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(MachineKeyError, match="damaged") as caught:
        MachineKey.load_or_create(path)
    assert caught.value.field == str(path)
    assert "backup" in caught.value.remedy
    assert path.read_bytes() == content


def test_key_that_is_a_folder_is_explained(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(MachineKeyError, match="can't be read"):
        MachineKey.load_or_create(path)


# --- signatures ----------------------------------------------------------------------------------


def test_own_signature_is_valid_also_after_base64(path: Path) -> None:
    key = MachineKey.load_or_create(path)
    signature = from_text(as_text(key.sign(b"data")))
    assert verify(key.public_key, b"data", signature)


@given(data=st.binary(), flip=st.integers(0, 64 * 8 - 1))
def test_signature_fails_with_any_bit_changed(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, flip: int
) -> None:
    key = MachineKey.load_or_create(tmp_path_factory.getbasetemp() / "machine.pem")
    signature = bytearray(key.sign(data))
    signature[flip // 8] ^= 1 << flip % 8
    assert not verify(key.public_key, data, bytes(signature))
    assert not verify(key.public_key, data + b"\0", key.sign(data))


@pytest.mark.parametrize("public_key", ["", "no base64!", "AAAA", "ü", "A" * 44])
def test_nothing_verifies_with_a_malformed_key(path: Path, public_key: str) -> None:
    signature = MachineKey.load_or_create(path).sign(b"data")
    assert not verify(public_key, b"data", signature)


@pytest.mark.parametrize("text", ["", "!", "é", "AAA"])
def test_malformed_signature_verifies_nothing(path: Path, text: str) -> None:
    key = MachineKey.load_or_create(path)
    assert not verify(key.public_key, b"data", from_text(text))


# --- canonical JSON ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"b": 1, "a": [True, None, "x"]}, b'{"a":[true,null,"x"],"b":1}'),
        ({"ü": "€\n"}, '{"ü":"€\\n"}'.encode()),
        (
            [1.0, 0.5, 1e21, 1e-7, -0.0, 333333333.33333329],
            b"[1,0.5,1e+21,1e-7,0,333333333.3333333]",
        ),
        ({"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}'.encode()),  # as UTF-16
    ],
)
def test_canonical_form_follows_rfc_8785(content: Any, expected: bytes) -> None:
    assert canonical(content) == expected


@pytest.mark.parametrize(
    "content", [math.nan, math.inf, 2**53, {1: 2}, "\ud800", {"a": object()}, b"bytes"]
)
def test_value_that_json_libraries_read_differently_is_refused(content: Any) -> None:
    with pytest.raises(ValueError):
        canonical(content)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-(2.0**53) + 1, 2.0**53 - 1)  # a larger whole one would be read as an integer
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
)


@given(content=json_values)
def test_canonical_form_survives_parsing(content: Any) -> None:
    assert canonical(json.loads(canonical(content))) == canonical(content)


def test_numbers_of_a_key_fit_together() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    own = key.private_numbers()
    n, rest = own.public_numbers.n, (own.dmp1, own.dmq1, own.iqmp)
    assert fits_together(key)
    for p, q in ((1, n), (n, 1)):
        numbers = b"".join(_der(2, _whole(each)) for each in (0, n, 65537, own.d, p, q, *rest))
        odd = load_der_private_key(_der(0x30, numbers), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(odd, rsa.RSAPrivateKey)
        assert not fits_together(odd)


def _whole(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _der(tag: int, content: bytes) -> bytes:
    size = _whole(len(content)).lstrip(b"\0")
    head = size if len(content) < 0x80 else bytes((0x80 + len(size),)) + size
    return bytes((tag,)) + head + content
