"""A trainer of ours that lies in the exchange of blobs; else it does as it is told.

    python tests/support/training/hostile_trainer.py --trainer ATTACK

sign, thousand: what it learnt, reversed or times 1,000. garbage: a blob of random bytes. nan: a
blob whose numbers are no numbers. base: a blob from other outer weights than it says. weight: it
claims 10^30 samples. copy: what another one sent in the round before. noise: noise four times as
large as what it learnt, with the largest weight that is believed. silent: as a leader, and when
asked for pieces, it says nothing.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from app.protocol import Start
from app.trainer import process

FACTORS = {"sign": -1.0, "thousand": 1000.0}
ANSWERS = ("_answer_offer", "_answer_fetch")
FINGERPRINT = 8


def garbage(blob: bytes) -> bytes:
    return os.urandom(len(blob))


def not_numbers(blob: bytes) -> bytes:
    """All bits of a float16 or float32 set: NaN."""
    return blob[:FINGERPRINT] + b"\xff" * (len(blob) - FINGERPRINT)


BLOBS: dict[str, Callable[[bytes], bytes]] = {"garbage": garbage, "nan": not_numbers}


def spoil(attack: str, most_weight: float) -> None:
    """Change what this trainer sends, or answers. most_weight: that the others believe."""
    from app.trainer.exchange import member
    from app.trainer.local_steps.dense import DenseCodec
    from app.trainer.local_steps.sparse import SparseCodec
    from app.trainer.strategies import round as rounds

    if attack in FACTORS or attack in BLOBS or attack == "noise":
        spoil_blobs_of(DenseCodec, attack)
        spoil_blobs_of(SparseCodec, attack)
        if attack == "noise":
            claim(most_weight)
    elif attack == "copy":
        copy_others(rounds)
    elif attack == "base":
        rounds.digest_of = lambda _tensors: os.urandom(16)
    elif attack == "weight":
        claim(1e30)
        member.check_offer = lambda *_arguments, **_options: ""
    elif attack == "silent":
        for name in ANSWERS:
            setattr(member.MemberAnswers, name, say_nothing)
    else:
        raise SystemExit(f"no attack {attack!r}")


def copy_others(rounds: Any) -> None:
    """Blobs of the round before: only a leader sees others' before its own is offered."""
    from app.trainer.local_steps.believing import BASE_BYTES
    from app.trainer.local_steps.codec import Encoded
    from app.trainer.local_steps.dense import DenseCodec
    from app.trainer.local_steps.sparse import SparseCodec

    believed, stolen, own = rounds.believed, [], []

    def remember(contributions: Sequence[Any], **options: Any) -> Any:
        blobs = [each.blob[BASE_BYTES:] for each in contributions]
        stolen[:] = [blob for blob in blobs if blob not in own]
        return believed(contributions, **options)

    def copying(encode: Any) -> Any:
        def encode_falsely(self: Any, tensors: Sequence[Any]) -> Encoded:
            honest: Encoded = encode(self, tensors)
            sent = Encoded(stolen[0], honest.decoded) if stolen else honest
            own[:] = [sent.blob]
            return sent

        return encode_falsely

    rounds.believed = remember
    for codec in (DenseCodec, SparseCodec):
        codec.encode = copying(codec.encode)  # type: ignore[method-assign]


def claim(weight: float) -> None:
    from app.trainer.exchange.offers import OwnKey

    offer: Any = OwnKey.offer
    claimed: Any = lambda self, blob, **said: offer(self, blob, **(said | {"weight": weight}))  # noqa: E731
    OwnKey.offer = claimed  # type: ignore[method-assign]


def noise(learnt: Sequence[Any]) -> list[Any]:
    import torch

    return [torch.randn_like(each) * 4 * each.norm() / each.numel() ** 0.5 for each in learnt]


def spoil_blobs_of(codec: Any, attack: str) -> None:
    from app.trainer.local_steps.codec import Encoded

    encode = codec.encode

    def encode_falsely(self: Any, tensors: Sequence[Any]) -> Encoded:
        said = noise(tensors) if attack == "noise" else tensors
        honest: Encoded = encode(self, [FACTORS.get(attack, 1.0) * each for each in said])
        change = BLOBS.get(attack)
        return Encoded(change(honest.blob), honest.decoded) if change else honest

    codec.encode = encode_falsely


async def say_nothing(_self: object, _stream: object) -> None:
    await asyncio.sleep(3600)


def main() -> int:
    """Spoil the trainer once it may import hivemind."""
    prepare, attack = process._prepare_process, sys.argv[2]

    def prepare_and_spoil(order: Start) -> None:
        prepare(order)
        from app.spec import schema
        from app.trainer.strategies.round import most_weight

        spoil(attack, most_weight(schema.parse(order.spec)))

    process._prepare_process = prepare_and_spoil
    return process.main(())


if __name__ == "__main__":
    sys.exit(main())
