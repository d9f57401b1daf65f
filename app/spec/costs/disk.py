"""What training takes of the disk: checkpoints, downloads, and the data as tokens."""

from app.common.i18n import _
from app.spec.architectures import Sizes
from app.spec.costs.figures import FLOAT32, Amount, EstimatePart, optimizer_states
from app.spec.schema import SwarmSpec
from app.spec.sources.data import (
    BuiltinData,
    FileData,
    HttpsData,
    HttpsTokenizer,
    HubTokenizer,
    PlainData,
    SlotData,
    sources_of,
)

KEPT_CHECKPOINTS = 2
"""How many the trainer keeps; there is one more while it is being written."""

MOST_TOKENIZER_BYTES = 64 * 2**20
"""A larger ``tokenizer.json`` is refused."""

DOCUMENTATION = 480_000
"""Bytes of the text that ships with Python."""


def disk_of(spec: SwarmSpec, sizes: Sizes, *, base: int, count: int) -> Amount:
    """What training leaves on the disk. base: the model's parameters without its adapters. count:
    those that are trained."""
    size = FLOAT32 * count * (1 + optimizer_states(spec.training))
    checkpoints = EstimatePart(
        name=_("Checkpoints"),
        size=(KEPT_CHECKPOINTS + 1) * size,
        why=_("weights and optimizer, the newest {count} and one that is being written").format(
            count=KEPT_CHECKPOINTS
        ),
    )
    downloads = (*_weights(spec, base), *_tokenizer(spec))
    return Amount(parts=(checkpoints, *downloads, *_data(spec, sizes)))


def _weights(spec: SwarmSpec, base: int) -> tuple[EstimatePart, ...]:
    if spec.pretrained is None:
        return ()
    known = spec.pretrained.bytes
    why = (
        _("downloaded once")
        if known
        else _("downloaded once; up to 4 bytes a parameter, often half as many")
    )
    return (EstimatePart(name=_("Pretrained weights"), size=known or FLOAT32 * base, why=why),)


def _tokenizer(spec: SwarmSpec) -> tuple[EstimatePart, ...]:
    tokenizer = spec.data.tokenizer
    if not isinstance(tokenizer, HubTokenizer | HttpsTokenizer):
        return ()
    known = tokenizer.bytes
    why = _("downloaded once") if known else _("downloaded once, at most")
    return (EstimatePart(name=_("Tokenizer"), size=known or MOST_TOKENIZER_BYTES, why=why),)


def _data(spec: SwarmSpec, sizes: Sizes) -> tuple[EstimatePart, ...]:
    """A part for each source, those of the same kind in one."""
    width = 1 if sizes.vocabulary <= 2**8 else 2 if sizes.vocabulary <= 2**16 else FLOAT32
    return tuple(dict.fromkeys(_source(each, width) for each in sources_of(spec.data).values()))


def _source(source: PlainData, width: int) -> EstimatePart:
    """width: bytes of a token."""
    name = _("Training data")
    match source:
        case BuiltinData():
            why = _("Python's documentation as tokens")
            return EstimatePart(name=name, size=DOCUMENTATION * width, why=why)
        case FileData() | SlotData():
            why = _("the files once more as tokens, up to {count} bytes for each byte of text")
            return EstimatePart(name=name, size=None, why=why.format(count=width))
        case HttpsData():
            why = _(
                "the download, and once more as tokens, up to {count} bytes for each byte of text"
            )
            return EstimatePart(name=name, size=None, why=why.format(count=width))
        case _:
            return EstimatePart(name=name, size=0, why=_("streamed, not kept"))
