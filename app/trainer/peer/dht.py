"""The adapter of hivemind's DHT process, which may raise anything."""

from collections.abc import Iterator
from contextlib import contextmanager

import hivemind

from app.common.errors import JoinError
from app.common.i18n import _
from app.p2p import run_records
from app.protocol import Start


class DhtError(Exception):
    """The DHT process failed at a task, or gave no answer. The message is the reason in a line."""


@contextmanager
def dht_errors() -> Iterator[None]:
    """Raise `DhtError` in place of what hivemind's DHT process raises.

    The process sends its own exceptions to us as they are, those of p2pd, of msgpack and of
    multiaddr among them. They have no common base class.
    """
    try:
        yield
    except Exception as error:
        raise DhtError((str(error) or repr(error)).splitlines()[0]) from error


def open_dht(order: Start, *, run_id: str, identity: run_records.Identity) -> hivemind.DHT:
    """Start the DHT process and its p2pd, and enter by ``order.initial_peers``.

    Raises `JoinError`.
    """
    try:
        with dht_errors():
            return hivemind.DHT(
                start=True,
                initial_peers=list(order.initial_peers),
                record_validators=run_records.validators(run_id, identity.key),
                identity_path=order.identity_file,
                # The app has ended what was left of our last process, so the identity is free.
                check_if_identity_free=False,
                startup_timeout=60,
                # When it ends, the DHT process waits up to 3 s for each averager that has ended
                # with a question to it still open.
                shutdown_timeout=1,
                **run_records.node_options(order.network),
            )
    except DhtError as error:
        raise JoinError(
            _("the trainer can't enter the swarm: {reason}.").format(reason=error),
            field="initial_peers",
            remedy=_("Check your network and try again."),
        ) from error
