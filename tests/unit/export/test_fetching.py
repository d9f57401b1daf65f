"""What is asked of the process that fetches weights."""

from pathlib import Path
from typing import Any

import pytest

from app.common.errors import ExportError
from app.common.paths import Folders
from app.export import fetching as module
from app.export.fetching import fetch_weights
from app.settings.settings import Settings
from app.spec import schema
from app.spec.schema import SwarmSpec
from app.spec.signing import signed
from app.swarm.bindings import Bindings
from app.takeout.messages import FetchWeights, WeightsFetched
from tests.support.organiser.organisers import organiser
from tests.support.training.specs import PEER, SMALLEST

SPEC = schema.parse(SMALLEST)


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[FetchWeights]:
    made: list[FetchWeights] = []

    async def fetch(order: FetchWeights, *, on_progress: Any) -> WeightsFetched:
        made.append(order)
        return WeightsFetched(epoch=1, from_door=False)

    monkeypatch.setattr(module, "fetch", fetch)
    return made


async def ask(folder: Path, spec: SwarmSpec, *entries: str, **settings: Any) -> None:
    folders = Folders.under(folder)
    await fetch_weights(
        spec,
        folders=folders,
        settings=Settings(**settings),
        bindings=Bindings(folders.slots_file),
        entries=entries,
        on_progress=lambda _progress: None,
    )


async def test_a_made_up_peer_asks_in_an_open_swarm_and_ours_in_a_closed_one(
    tmp_path: Path, orders: list[FetchWeights]
) -> None:
    await ask(tmp_path, SPEC, PEER, initial_peers=PEER)
    closed = signed(SPEC, organiser(), name="Ours", closed=True)
    await ask(tmp_path, closed, PEER, hub_sign_in=True)
    first, second = orders
    assert first.initial_peers == (PEER,)
    assert (first.identity_file, first.hub_sign_in) == ("", False)
    assert second.identity_file == str(tmp_path / "identities" / "trainer.pem")
    assert second.hub_sign_in
    assert first.folder == str(tmp_path / "checkpoints" / SPEC.run_id / "watched")


async def test_without_anybody_to_enter_by_it_says_so(
    tmp_path: Path, orders: list[FetchWeights]
) -> None:
    with pytest.raises(ExportError, match="names nobody"):
        await ask(tmp_path, SPEC)
    assert orders == []
