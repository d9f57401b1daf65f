"""A hostile peer, made of plain hivemind: knows an address and the run id, nothing else.

    python tests/support/training/hostile.py ATTACK ADDRESS…

nan, inf, sign, thousand: averages gradients that are no numbers, reversed, or times 1,000 (nan: and
parameters). weight, weight-zero, weight-negative, weight-nan: with a weight of 1e30 (and ascending
gradients) and so on. shape, huge, slow, silent: what it sends in a round. reducer, reducer-nan:
what it answers as a reducer; leader: the same, claiming all bandwidth. record: publishes progress
records of epoch 10^6 that live for ten years.
donor:KIND: offers its state to newcomers; in our way a garbage, nan or endless one, in hivemind's
way (plain-…) a garbage, nan, shape or endless one, or one whose metadata sets the learning rate
(rate).
For closed swarms, plain: takes part like everybody, with the identity in COTRAIN_IDENTITY if there
is one. thief: asks for the state and for a place in a group, and prints what it was given. roster:
stores the rosters in the files of COTRAIN_ROSTERS under ever higher serial numbers.
It goes on until it is killed, and prints a line once it begins.
"""

import asyncio
import itertools
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

import hivemind
import msgspec
import torch
from hivemind.averaging.partition import TensorPartContainer, TensorPartReducer
from hivemind.compression import serialize_torch_tensor
from hivemind.compression.base import TensorRole
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.optim.grad_averager import GradientAverager
from hivemind.optim.state_averager import TrainingStateAverager
from hivemind.p2p import P2PContext, PeerID
from hivemind.proto import averaging_pb2, runtime_pb2

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    DownloadData,
    DownloadRequest,
)
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]
from hivemind.utils.crypto import RSAPrivateKey
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.timed_storage import get_dht_time
from transformers import GPT2Config, GPT2LMHeadModel

from app.trainer.joining.layout import StateLayout

RUN = "tiny"
TEN_YEARS = 10 * 365 * 86_400.0


def model() -> GPT2LMHeadModel:
    """The tiny spec's."""
    torch.set_num_threads(1)
    sizes: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 32, "n_positions": 64}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=256, bos_token_id=None, eos_token_id=None, **sizes)
    )


class Evil(float):
    """A weight that hivemind's own checks let pass."""

    def __ge__(self, _other: object) -> bool:
        return True


WEIGHTS = {
    "weight": 1e30,
    "weight-zero": 0.0,
    "weight-negative": Evil(-1000.0),
    "weight-nan": Evil("nan"),
}
FACTORS = {"weight": -1e3, "sign": -1.0, "thousand": 1e3, "nan": torch.nan, "inf": torch.inf}


def average(attack: str, dht: hivemind.DHT) -> None:
    """Take part in every round, with the worst to offer."""
    network = model()
    spoil_parts(attack)
    optimizer = hivemind.Optimizer(
        dht=dht,
        run_id=RUN,
        target_batch_size=4096,
        batch_size_per_step=4,
        params=network.parameters(),
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        matchmaking_time=2.0,
        averaging_timeout=8.0,
        averager_opts={"bandwidth": 1e9} if attack == "leader" else None,
    )
    optimizer.tracker.fetched_global_progress_this_epoch.wait()
    optimizer.load_state_from_peers()
    if attack in WEIGHTS:
        averager = optimizer.grad_averager
        averager.step = partial(averager.step, weight=WEIGHTS[attack])
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    while True:
        tokens = torch.randint(97, 123, (4, 33))
        logits = network(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.grad.mul_(FACTORS.get(attack, 1.0))
                if attack == "nan":
                    parameter.fill_(torch.nan)
        optimizer.step()
        optimizer.zero_grad()


def spoil_parts(attack: str) -> None:
    """Change what hivemind sends in a round, and what it answers as a reducer."""
    send, reduce = TensorPartContainer.iterate_input_parts_for, TensorPartReducer.accumulate_part

    async def send_spoilt(self: Any, peer_index: int) -> AsyncIterator[Any]:
        async for part in send(self, peer_index):
            if attack == "silent":
                await asyncio.sleep(TEN_YEARS)
            elif attack == "slow":
                await asyncio.sleep(1.0)
            elif attack == "huge":
                part.buffer = bytes(8 * 2**20)
            yield serialize_torch_tensor(torch.zeros(3, 5)) if attack == "shape" else part

    async def reduce_falsely(self: Any, *arguments: Any, **options: Any) -> torch.Tensor:
        average = await reduce(self, *arguments, **options)
        return average * torch.nan if attack == "reducer-nan" else -5.0 * average

    if attack in ("silent", "slow", "shape", "huge"):
        setattr(TensorPartContainer, send.__name__, send_spoilt)
    if attack in ("reducer", "reducer-nan", "leader"):
        setattr(TensorPartReducer, reduce.__name__, reduce_falsely)


def steal(dht: hivemind.DHT, address: str) -> None:
    """Call the averagers of the peer at an address, as no hivemind peer does."""
    peer = PeerID.from_base58(address.rpartition("/p2p/")[2])

    async def call() -> list[str]:
        p2p = await dht.replicate_p2p()
        state = TrainingStateAverager.get_stub(p2p, peer, namespace=f"{RUN}_state_averager")
        stolen = await state.rpc_download_state(averaging_pb2.DownloadRequest())
        count = sum([len(part.tensor_part.buffer) async for part in stolen])
        ours = TrainingStateAverager._get_handle_name(f"{RUN}_state_averager", "rpc_send_state")
        asked = runtime_pb2.ExpertRequest(
            metadata=MSGPackSerializer.dumps({"layout": "any", "ranges": [[0, 2**40]]})
        )
        snapshot = await p2p.iterate_protobuf_handler(peer, ours, asked, runtime_pb2.ExpertResponse)
        replies = [MSGPackSerializer.loads(each.metadata) async for each in snapshot]
        gradients = GradientAverager.get_stub(p2p, peer, namespace=f"{RUN}_grad_averager")
        wish = averaging_pb2.JoinRequest(
            schema_hash=b"any", expiration=get_dht_time() + 9, group_key=f"{RUN}_grad_averager.0b"
        )
        place = await gradients.rpc_join_group(wish)
        codes = [averaging_pb2.MessageCode.Name(each.code) async for each in place]
        return [f"{count} bytes of state", *(each["refusal"] for each in replies), *codes]

    sys.stdout.write(", ".join(asyncio.run(call())) + "\n")
    sys.stdout.flush()
    time.sleep(3600)


def store_rosters(dht: hivemind.DHT) -> None:
    """Store what may be a roster, again and again, for longer than anybody else."""
    rosters = [Path(name).read_bytes() for name in os.environ["COTRAIN_ROSTERS"].split(":")]
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    for serial in itertools.count(1):
        for roster in rosters:
            for subkey in (serial, 1, 2**52):
                dht.store(f"{RUN}_roster", roster, get_dht_time() + 590, subkey=subkey)
        time.sleep(0.2)


def forge(dht: hivemind.DHT) -> None:
    """Publish progress that nobody made."""
    owner = RSASignatureValidator(RSAPrivateKey.process_wide()).local_public_key
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    while True:
        forged = {
            "peer_id": dht.peer_id.to_bytes(),
            "epoch": 10**6,
            "samples_accumulated": 0,
            "samples_per_second": 1e9,
            "time": get_dht_time(),
            "client_mode": False,
        }
        for life in (60.0, TEN_YEARS):
            dht.store(f"{RUN}_progress", forged, get_dht_time() + life, subkey=owner)
        time.sleep(0.5)


class HostileDonor(TrainingStateAverager):
    """Offers a state that ruins who takes it, as both of our ways ask for it."""

    kind = ""

    @classmethod
    def _get_handle_name(cls, namespace: str | None, method_name: str) -> str:
        return f"{namespace}::TrainingStateAverager.{method_name}"

    def get_current_state(self) -> Any:
        """hivemind's way."""
        metadata, tensors, infos = super().get_current_state()
        metadata["epoch"] = 10**6
        if "rate" in self.kind:
            said = metadata["optimizer_metadata"]
            metadata["optimizer_metadata"] = [_with_rate(each) for each in said]
        elif "nan" in self.kind:
            tensors = [torch.full_like(each, torch.nan) for each in tensors]
        elif "shape" in self.kind:
            tensors = [torch.zeros(3, 3) for _ in tensors]
        else:
            tensors = [100 * torch.randn_like(each.float()) for each in tensors]
        return metadata, tensors, infos

    async def rpc_download_state(
        self, request: DownloadRequest, context: P2PContext
    ) -> AsyncIterator[DownloadData]:
        """hivemind's way, on and on if it is to be."""
        async for message in super().rpc_download_state(request, context):
            yield message
        while "endless" in self.kind:
            yield message

    async def rpc_send_state(
        self, request: ExpertRequest, context: P2PContext
    ) -> AsyncIterator[ExpertResponse]:
        """Our way."""
        if "plain" in self.kind:
            raise ValueError("unknown")
        wanted = msgspec.msgpack.decode(request.metadata)
        _, tensors, infos = await self._get_current_state_from_host_process()
        roles = [info.role is TensorRole.PARAMETER for info in infos]
        layout = StateLayout.of(tensors, parameters=sum(roles))
        header = {"epoch": 10**6, "size": layout.size, "refusal": ""}
        yield ExpertResponse(metadata=msgspec.msgpack.encode(header))
        content = bytes(layout.pack(tensors))
        for begin, end in wanted["ranges"]:
            yield ExpertResponse(metadata=content[begin:end])
        while "endless" in self.kind:
            yield ExpertResponse(metadata=bytes(2**16))


def _with_rate(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"value": 10.0} if entry.get("value") == 1e-3 else entry


def offer(kind: str, dht: hivemind.DHT) -> None:
    """Claim to have the best state, for as long as anybody asks."""
    HostileDonor.kind = kind
    averager = HostileDonor(
        dht=dht,
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        params=list(model().parameters()),
        prefix=f"{RUN}_state_averager",
        start=True,
    )
    averager.state_sharing_priority = 2**53
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    while True:
        time.sleep(1.0)


if __name__ == "__main__":
    attack, *addresses = sys.argv[1:]
    swarm = hivemind.DHT(
        initial_peers=addresses,
        start=True,
        record_validators=[RSASignatureValidator()],
        identity_path=os.environ.get("COTRAIN_IDENTITY"),
    )
    if attack.startswith("donor:"):
        offer(attack.removeprefix("donor:"), swarm)
    elif attack == "record":
        forge(swarm)
    elif attack == "thief":
        steal(swarm, addresses[0])
    elif attack == "roster":
        store_rosters(swarm)
    else:
        average(attack, swarm)
