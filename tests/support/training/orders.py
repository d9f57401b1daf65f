"""An order of the app to its trainer."""

from app.p2p.network import Network
from app.protocol import Start
from tests.support.training.specs import PEER

ORDER = Start(
    id=1,
    spec={},
    initial_peers=(PEER,),
    identity_file="trainer.pem",
    checkpoint_dir="checkpoints",
    cache_dir="cache",
    device="cpu",
    threads=1,
    network=Network(listen=("/ip4/127.0.0.1/tcp/0",), local=True),
)
