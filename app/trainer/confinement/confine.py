"""Confine this process to what an order of the app needs."""

import logging
import os
from pathlib import Path

from app.protocol import Start
from app.spec import schema as specs
from app.trainer.confinement.environment import redirect_caches
from app.trainer.confinement.landlock import restrict
from app.trainer.confinement.memory import be_killed_first
from app.trainer.confinement.places import places_for

log = logging.getLogger(__name__)


def confine(order: Start) -> None:
    """Confine this process, and all that it starts later, as far as the system can.

    Call it from the only thread, before torch is imported. Raises `SpecError`.
    """
    spec = specs.parse(order.spec)
    be_killed_first()
    _make_identity(Path(order.identity_file))
    try:
        places = places_for(order, spec)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    else:
        reason = restrict(places)
    redirect_caches(Path(order.cache_dir), hub_sign_in=order.hub_sign_in)
    if reason:
        log.warning("the trainer runs with all of your rights: %s", reason)
    else:
        log.info("Landlock holds the trainer: it writes in %s only", _names(places.outputs))


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
