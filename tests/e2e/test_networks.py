"""Apps on hosts of their own: through a NAT, over a bad line, without a cable for a while."""

from pathlib import Path

import pytest

from tests.support.network.networks import Internet
from tests.support.network.wide import (
    all_train_together,
    comes_back,
    invitation_of,
    loses_the_swarm,
    wide_spec,
)
from tests.support.processes.apps import StartApp

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


async def test_training_goes_on_whatever_the_network_does(
    net: Internet, start_app: StartApp, tmp_path: Path
) -> None:
    """Three hosts, which join through the first one's invite. One is behind a NAT, on a slow and
    lossy line; another one's cable is pulled out. Nobody restarts anything."""
    public, roaming, hidden = net.host("public"), net.host("roaming"), net.host_behind_nat("hid")
    net.slow_down(hidden, delay=0.05, loss=0.01)
    first = await start_app(spec=wide_spec(), host=public)
    file = await invitation_of(first, tmp_path / "wide.cotrain")
    second = await start_app("--swarm", str(file), host=roaming)
    third = await start_app("--swarm", str(file), host=hidden)
    before = await all_train_together(first, second, third)

    net.cut(roaming)
    await loses_the_swarm(second)
    net.restore(roaming)
    await comes_back(second)

    after = await all_train_together(first, second, third, beyond=max(before))
    assert min(after) > max(before)
