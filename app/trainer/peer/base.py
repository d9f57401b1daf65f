"""All peers of a run begin with the same weights: each says a digest, and compares the others'.

In a run that begins with pretrained weights, an older file in a cache, a hub that answers otherwise
or another spec under the same run id would let machines average what doesn't fit together; and
weights that adapters leave frozen never travel, so nothing else would show it.
"""

import logging
from collections import Counter
from typing import Any

import hivemind
from hivemind.utils.timed_storage import get_dht_time

from app.common.errors import JoinError
from app.common.i18n import _, ngettext
from app.p2p import run_records
from app.p2p.calls import CallError, hivemind_errors

log = logging.getLogger(__name__)

REPLY_SECONDS = 15.0
"""How long to wait for the DHT process, whose reply may get lost."""


class BaseRecord:
    """This trainer's entry among the digests of a run, and the others'."""

    def __init__(self, dht: hivemind.DHT, *, run_id: str, subkey: bytes, digest: str) -> None:
        """subkey: our public key, as it marks signed records. digest: of the weights we begin
        with."""
        self._dht = dht
        self._key = run_records.base_key(run_id)
        self._subkey = subkey
        self._digest = digest

    def publish(self, *, wait: bool = False) -> None:
        """Store our entry for `run_records.METRICS_SECONDS`. wait: until it is stored, so that of
        two peers that begin at the same time one at least sees the other."""
        stored: Any = self._dht.store(
            self._key,
            subkey=self._subkey,
            value=self._digest,
            expiration_time=get_dht_time() + run_records.METRICS_SECONDS,
            return_future=True,
        )
        if wait:
            self._result(stored)

    def check(self) -> None:
        """Raises `JoinError` where more of the others began with other weights than with ours."""
        asked: Any = self._dht.get(self._key, latest=True, return_future=True)
        found = self._result(asked)
        entries = found.value if found is not None else {}
        if not isinstance(entries, dict):
            return
        told = Counter(
            entry.value == self._digest
            for subkey, entry in entries.items()
            if subkey != self._subkey
        )
        if told[False] > told[True]:
            raise _differs(told[False], told.total())

    def _result(self, future: Any) -> Any:
        try:
            with hivemind_errors():
                return future.result(REPLY_SECONDS)
        except CallError as error:
            log.warning("the weights can't be compared with the others': %s", error)
            return None


def _differs(differ: int, count: int) -> JoinError:
    text = ngettext(
        "this machine begins with other weights than {differ} of {count} other machine does, so"
        " what they learn would not fit together.",
        "this machine begins with other weights than {differ} of {count} other machines do, so"
        " what they learn would not fit together.",
        count,
    )
    return JoinError(
        text.format(differ=differ, count=count),
        field="pretrained",
        remedy=_(
            "Join by a new invite. If it stays so, empty the cache of downloads, or ask whoever"
            " made the swarm which weights are right."
        ),
    )
