"""Which contributions count: the same at each member, whoever it is."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from app.p2p.sightings import PartFault
from app.trainer.exchange.exchange import PeerBlob
from app.trainer.local_steps import believing
from app.trainer.local_steps.believing import BASE_BYTES, MOST_TIMES_TYPICAL
from app.trainer.local_steps.codec import Codec
from app.trainer.local_steps.dense import DenseCodec
from app.trainer.local_steps.sparse import SparseCodec
from tests.support.training.cut import means_with_a_cut_blob

SHAPES = [torch.Size((64, 128)), torch.Size((64,))]
OURS, OTHER = b"o" * BASE_BYTES, b"x" * BASE_BYTES
CODECS: dict[str, Codec] = {
    "dense": DenseCodec(SHAPES, bits=4),
    "sparse": SparseCodec(SHAPES, keep=256),
}
believed = partial(believing.believed, farthest=math.inf)
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def learnt(seed: int) -> list[torch.Tensor]:
    """What a peer learnt: mostly what all learn, and noise of its own."""
    common, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=common) + 0.5 * torch.randn(shape, generator=own)
        for shape in SHAPES
    ]


def from_peer(
    codec: Codec,
    number: int,
    *,
    base: bytes = OURS,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor,
) -> PeerBlob:
    blob = codec.encode([change(each) for each in learnt(number)]).blob
    return PeerBlob(peer_id=f"Qm{number}", weight=100.0, blob=base + blob)


def size(mean: list[torch.Tensor]) -> float:
    return float(torch.cat([each.flatten() for each in mean]).norm())


@each_codec
def test_honest_contributions_all_count(codec: Codec) -> None:
    found = believed([from_peer(codec, n) for n in range(4)], codec=codec, base=OURS)
    assert found.agrees
    assert not found.faults
    alone = believed([from_peer(codec, 0)], codec=codec, base=OURS)
    assert size(found.mean) < 2.0 * size(alone.mean)


@each_codec
@pytest.mark.parametrize("times", [-1.0, -1000.0])
def test_who_turns_round_is_outvoted_however_far_it_goes(codec: Codec, times: float) -> None:
    honest = [from_peer(codec, number) for number in range(2)]
    liar = from_peer(codec, 2, change=lambda tensor: times * tensor)
    found = believed([*honest, liar], codec=codec, base=OURS)
    assert found.faults == {liar.peer_id: PartFault.AGAINST}


@each_codec
def test_nothing_does_not_take_the_others_votes(codec: Codec) -> None:
    def hardly(tensor: torch.Tensor) -> torch.Tensor:
        """What float32 can hold, and 1 divided by it can't."""
        flat = torch.zeros_like(tensor).flatten()
        flat[0] = 1e-39
        return flat.view_as(tensor)

    honest = [from_peer(codec, number) for number in range(3)]
    nothing = from_peer(codec, 3, change=hardly)
    assert any(bool(each.any()) for each in codec.decode(nothing.blob[BASE_BYTES:]))
    liar = from_peer(codec, 4, change=torch.neg)
    found = believed([*honest, nothing, liar], codec=codec, base=OURS)
    assert found.faults == {liar.peer_id: PartFault.AGAINST}


@each_codec
def test_where_all_point_away_from_each_other_none_is_left_out(codec: Codec) -> None:
    signs = ((1.0, 1.0, -2.0), (1.0, -2.0, 1.0), (-2.0, 1.0, 1.0))
    blobs = []
    for number, thirds in enumerate(signs):
        update = [torch.ones(shape) for shape in SHAPES]
        for begin, sign in enumerate(thirds):
            update[0].view(-1)[begin::3] *= sign
            update[1][begin::3] *= sign
        blob = OURS + codec.encode(update).blob
        blobs.append(PeerBlob(peer_id=f"Qm{number}", weight=100.0, blob=blob))
    assert believed(blobs, codec=codec, base=OURS).faults == {}


@each_codec
def test_a_round_of_those_who_took_no_step_moves_nothing(codec: Codec) -> None:
    idle = [replace(from_peer(codec, number), weight=0.0) for number in range(2)]
    found = believed(idle, codec=codec, base=OURS)
    assert found.agrees
    assert not any(bool(each.any()) for each in found.mean)


@each_codec
def test_reversed_contribution_is_left_out_and_named(codec: Codec) -> None:
    honest = [from_peer(codec, n) for n in range(3)]
    liar = from_peer(codec, 3, change=torch.neg)
    found = believed([*honest, liar], codec=codec, base=OURS)
    assert found.faults == {"Qm3": PartFault.AGAINST}
    without = believed(honest, codec=codec, base=OURS).mean
    assert all(torch.equal(a, b) for a, b in zip(found.mean, without, strict=True))


@each_codec
def test_of_two_nobody_can_be_called_the_liar(codec: Codec) -> None:
    two = [from_peer(codec, 0), from_peer(codec, 1, change=torch.neg)]
    assert not believed(two, codec=codec, base=OURS).faults


@each_codec
def test_a_copy_counts_once_however_much_it_claims(codec: Codec) -> None:
    honest = [from_peer(codec, n) for n in range(3)]
    copy = replace(honest[0], peer_id="Qm3", weight=200.0)
    found = believed([*honest, copy], codec=codec, base=OURS)
    assert found.faults == {"Qm3": PartFault.COPY}
    without = believed(honest, codec=codec, base=OURS).mean
    assert all(torch.equal(a, b) for a, b in zip(found.mean, without, strict=True))


@each_codec
def test_huge_contribution_is_cut(codec: Codec) -> None:
    honest = [from_peer(codec, n) for n in range(3)]
    liar = from_peer(codec, 3, change=lambda tensor: 1000 * tensor)
    found = believed([*honest, liar], codec=codec, base=OURS)
    alone = believed(honest[:1], codec=codec, base=OURS)
    assert size(found.mean) < MOST_TIMES_TYPICAL * size(alone.mean)


@each_codec
@pytest.mark.parametrize("members", [1, 3])
def test_none_goes_farther_than_any_could_learn(codec: Codec, members: int) -> None:
    far = [from_peer(codec, n, change=lambda tensor: 1e9 * tensor) for n in range(members)]
    found = believing.believed(far, codec=codec, base=OURS, farthest=5.0)
    # where only one sent a place, its value is not divided by the number of members
    assert 0.0 < size(found.mean) < 5.001 * math.sqrt(members)


def test_cut_contribution_counts_the_same_with_any_number_of_threads() -> None:
    """`test_codec` tries it with other instructions as well."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = means_with_a_cut_blob()
        torch.set_num_threads(3)
        together = means_with_a_cut_blob()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@each_codec
def test_who_starts_from_other_weights_does_not_count(codec: Codec) -> None:
    three = [
        from_peer(codec, 0, base=OTHER),
        from_peer(codec, 1),
        from_peer(codec, 2),
    ]
    found = believed(three, codec=codec, base=OURS)
    assert found.agrees
    assert found.faults == {"Qm0": PartFault.FAR}
    assert not believed(three, codec=codec, base=OTHER).agrees


@each_codec
def test_of_two_that_differ_both_follow_the_same_one(codec: Codec) -> None:
    two = [from_peer(codec, 0, base=OTHER), from_peer(codec, 1)]
    answers = {base: believed(two, codec=codec, base=base).agrees for base in (OURS, OTHER)}
    assert sum(answers.values()) == 1


@each_codec
def test_of_two_the_one_that_learnt_more_keeps_its_weights(codec: Codec) -> None:
    newcomer = replace(from_peer(codec, 0, base=OTHER), weight=10.0)
    two = [newcomer, from_peer(codec, 1)]
    assert believed(two, codec=codec, base=OURS).agrees
    assert not believed(two, codec=codec, base=OTHER).agrees


@each_codec
def test_who_has_taken_more_steps_may_go_farther(codec: Codec) -> None:
    slow = [from_peer(codec, number) for number in range(2)]
    far = from_peer(codec, 2, change=lambda tensor: 10.0 * tensor)
    for weight, is_whole in ((100.0, False), (900.0, True)):
        sent = [*slow, replace(far, weight=weight)]
        uncut = codec.mean([each.blob[BASE_BYTES:] for each in sent], [100.0, 100.0, weight])
        mean = believed(sent, codec=codec, base=OURS).mean
        assert all(map(torch.equal, mean, uncut)) == is_whole
