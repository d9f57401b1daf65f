"""Progress records, as plain hivemind peers publish them."""

from typing import Any

from hivemind.dht.crypto import RSASignatureValidator
from hivemind.utils.crypto import RSAPrivateKey
from hivemind.utils.timed_storage import get_dht_time

PEER = b"\x12\x20" + bytes(32)
YEARS = 10 * 365 * 86_400.0


def owner(key: RSAPrivateKey | None = None) -> bytes:
    """The subkey of whoever signs with a key."""
    return RSASignatureValidator(key or RSAPrivateKey()).local_public_key


OWNER = owner()


def progress(**changes: Any) -> dict[str, Any]:
    """A record's value."""
    plain = {
        "peer_id": PEER,
        "epoch": 7,
        "samples_accumulated": 100,
        "samples_per_second": 12.5,
        "time": get_dht_time(),
        "client_mode": False,
    }
    return plain | changes
