"""The weights of a swarm, for a machine that doesn't train in it: to write with, or to take out."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.common.errors import ExportError
from app.common.i18n import _
from app.common.paths import ROLE, WATCHED, Folders
from app.export.exporter import OnExportProgress, fetch
from app.organiser.files import OrganiserFiles
from app.settings.settings import Settings
from app.spec.sources.data import SlotTokenizer
from app.swarm.bindings import Bindings
from app.takeout.messages import FetchWeights, WeightsFetched

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec


async def fetch_weights(
    spec: "SwarmSpec",
    *,
    folders: Folders,
    settings: Settings,
    bindings: Bindings,
    entries: Iterable[str],
    on_progress: OnExportProgress,
) -> WeightsFetched:
    """Fetch them from a trainer, or where nobody trains from a door's snapshot, and keep them as
    this machine's newest checkpoint of the run. A cancel ends it.

    None of our trainers may run: in a closed swarm the roster has their peers' ids, so one of
    these asks.

    entries: multiaddrs to enter by, beside the spec's and the settings'. Raises `ExportError`, and
    `SpecError` or `DataError` for the file in the tokenizer's slot.
    """
    if isinstance(spec.data.tokenizer, SlotTokenizer):
        spec = await bindings.filled(spec)
    known = (*entries, *spec.initial_peers, *settings.initial_peers)
    if not known:
        raise ExportError(
            _("this invite names nobody from whom the weights can be fetched."),
            field="initial_peers",
            remedy=_("Ask for a new invite, or train here."),
        )
    is_closed = spec.organiser is not None and spec.organiser.closed
    order = FetchWeights(
        spec=spec.to_json(),
        initial_peers=tuple(dict.fromkeys(known)),
        identity_file=str(folders.identity_file(ROLE)) if is_closed else "",
        roster_file=str(OrganiserFiles(folders.data).roster(spec.run_id)),
        cache_dir=str(folders.cache / "data"),
        folder=str(folders.checkpoints(spec.run_id) / WATCHED),
        hub_sign_in=settings.hub_sign_in,
    )
    return await fetch(order, on_progress=on_progress)
