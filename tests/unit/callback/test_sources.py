"""What the API shows of a session beyond the contract."""

import asyncio
import json
from pathlib import Path

from sessions import OfflineSession
from works import NOON, contribution

from app.callback.sources import sources_of
from app.ledger import Ledger
from app.signing import MachineKey, canonical, from_text, verify


async def test_contributions_can_be_checked_by_who_reads_them(tmp_path: Path) -> None:
    session = OfflineSession(tmp_path / "data")
    key = MachineKey.load_or_create(session.folders.machine_key_file)
    await session.contributions.open()
    ledger = session.contributions.ledger
    for number in (1, 2, 3):
        await ledger.run(Ledger.add, contribution(number).signed(key))
    await ledger.run(Ledger.refuse, contribution(3).id, NOON, "no such session")
    source = sources_of(session).contributions
    assert source is not None
    newest, second = await source.contributions(limit=2)
    await session.close()
    shown = json.loads(json.dumps(newest))
    fate = {name: shown.pop(name) for name in ("state", "remark", "attempts", "score")}
    assert fate == {
        "state": "refused",
        "remark": "no such session",
        "attempts": 0,
        "score": contribution(3).score,
    }
    assert second["id"] == contribution(2).id
    signature = from_text(shown.pop("signature"))
    assert shown["computeTime"] == contribution(3).compute_time
    assert await asyncio.to_thread(verify, shown["publicKey"], canonical(shown), signature)
