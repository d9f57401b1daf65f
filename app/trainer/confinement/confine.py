"""Confine this process to what an order of the app needs."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from app.generation_messages import OpenModel
from app.protocol import Start
from app.spec import schema as specs
from app.takeout.messages import FetchWeights
from app.trainer.confinement.environment import redirect_caches
from app.trainer.confinement.landlock import restrict
from app.trainer.confinement.memory import OOM_SCORE_OF_READERS, be_killed_first
from app.trainer.confinement.places import (
    Places,
    places_for,
    places_to_fetch,
    places_to_read,
)

log = logging.getLogger(__name__)


def confine(order: Start) -> None:
    """Confine this process, and all that it starts later, as far as the system can.

    Call it from the only thread, before torch is imported. Raises `SpecError`.
    """
    spec = specs.parse(order.spec)
    be_killed_first()
    _make_identity(Path(order.identity_file))
    _hold_to(lambda: places_for(order, spec), who="the trainer")
    redirect_caches(Path(order.cache_dir), hub_sign_in=order.hub_sign_in)


def confine_reader(order: OpenModel) -> None:
    """Confine a process that reads checkpoints, like `confine`. Raises `SpecError`."""
    spec = specs.parse(order.spec)
    be_killed_first(OOM_SCORE_OF_READERS)
    _hold_to(lambda: places_to_read(order, spec), who="what writes texts")
    redirect_caches(Path(order.cache_dir), hub_sign_in=False)


def confine_fetcher(order: FetchWeights) -> None:
    """Confine a process that downloads weights from a swarm, like `confine`. Raises `SpecError`."""
    spec = specs.parse(order.spec)
    be_killed_first()
    if order.identity_file:
        _make_identity(Path(order.identity_file))
    _hold_to(lambda: places_to_fetch(order, spec), who="what fetches weights")
    redirect_caches(Path(order.cache_dir), hub_sign_in=order.hub_sign_in)


def _hold_to(find: Callable[[], Places], *, who: str) -> None:
    try:
        places = find()
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    else:
        reason = restrict(places)
    if reason:
        log.warning("%s runs with all of your rights: %s", who, reason)
    else:
        log.info("Landlock holds %s: it writes in %s only", who, _names(places.outputs))


def _names(paths: tuple[Path, ...]) -> str:
    return ", ".join(map(str, paths))


def _make_identity(file: Path) -> None:
    """Make the key of the trainer's peer, if it doesn't exist, in a process that ends.

    Afterwards this process can't make files in that folder, which holds the app's other keys, and
    before that it shouldn't import hivemind, which starts threads.
    """
    if file.exists():
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            from app.p2p.run_records import load_identity

            load_identity(file)
            status = 0
        finally:
            os._exit(status)
    os.waitpid(child, 0)
