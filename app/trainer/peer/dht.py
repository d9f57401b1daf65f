"""How the trainer starts hivemind's DHT process."""

import hivemind

from app.common.errors import JoinError
from app.common.i18n import _
from app.organiser.admission import Admission
from app.p2p import run_records
from app.p2p.calls import CallError, hivemind_errors
from app.p2p.plausible import RunTimes
from app.protocol import Start


def open_dht(
    order: Start,
    *,
    run_id: str,
    times: RunTimes,
    identity: run_records.Identity,
    admission: Admission,
) -> hivemind.DHT:
    """Start the DHT process and its p2pd, and enter by ``order.initial_peers``.

    Raises `JoinError`.
    """
    try:
        with hivemind_errors():
            return hivemind.DHT(
                start=True,
                initial_peers=list(order.initial_peers),
                record_validators=run_records.validators(run_id, identity.key, times, admission),
                identity_path=order.identity_file,
                # The app has ended what was left of our last process, so the identity is free.
                check_if_identity_free=False,
                startup_timeout=60,
                # When it ends, the DHT process waits up to 3 s for each averager that has ended
                # with a question to it still open.
                shutdown_timeout=1,
                **run_records.node_options(order.network),
            )
    except CallError as error:
        raise JoinError(
            _("the trainer can't enter the swarm: {reason}.").format(reason=error.reason),
            field="initial_peers",
            remedy=_("Check your network and try again."),
        ) from error
