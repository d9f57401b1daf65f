"""Open the data of a spec, whatever its source."""

import ssl
from functools import partial
from pathlib import Path

from app.common.errors import DataError, ProtocolError
from app.common.i18n import _
from app.spec.schema import (
    BuiltinData,
    FileData,
    HttpsFile,
    HubData,
    HubDataset,
    SlotData,
    SlotTokenizer,
    SwarmSpec,
)
from app.trainer.data.batches import Batches, StreamBatches, WindowBatches, order_key
from app.trainer.data.corpus import Source, tokenized
from app.trainer.data.documents import PythonDocs, TextFiles
from app.trainer.data.download import fetch
from app.trainer.data.held_out import (
    MOST_HELD_OUT,
    MOST_LOOKED_AT,
    HeldOut,
    HeldOutPart,
    TrainingPart,
)
from app.trainer.data.hub import HUB_MEMORY, HubText, hub_tokens
from app.trainer.data.prompts import encoded_prompts
from app.trainer.data.reader import MEMORY, read_apart
from app.trainer.data.tokenizer import open_tokenizer, token_type


def open_data(
    spec: SwarmSpec,
    *,
    identity: bytes,
    cache: Path,
    start: int = 0,
    pin: bool = False,
    hub_sign_in: bool = False,
    context: ssl.SSLContext | None = None,
) -> Batches:
    """Prepare the spec's data; the first batch begins at sample number ``start``.

    May take minutes, for a download and for tokenizing. Prepared data is kept below ``cache`` and
    reused.

    identity: this peer's id as bytes. Each peer of a swarm draws its own samples in its own order,
    the same ones at each start.
    pin: put batches into page-locked memory, from which a CUDA device copies faster.
    hub_sign_in: read the hub with the user's own sign-in.
    context: the TLS context for downloads; None for the public certificate authorities.

    Raises `DataError`, which names the field of the spec.
    """
    data, length = spec.data, spec.training.sequence_length
    if isinstance(data, SlotData) or isinstance(data.tokenizer, SlotTokenizer):
        raise ProtocolError("the app fills the slots of a spec before it starts a trainer")
    tokenizer, share = open_tokenizer(data.tokenizer), _share(spec)
    if isinstance(data, HubData):
        stream = partial(
            hub_tokens,
            data,
            tokenizer=tokenizer,
            order=order_key(spec.training.seed, identity=identity, start=start),
            cache=cache,
            sign_in=hub_sign_in,
            share=share,
        )
        return StreamBatches(
            read_apart(stream, dtype=token_type(tokenizer.vocabulary_size), memory=HUB_MEMORY),
            sequence_length=length,
            vocabulary_size=tokenizer.vocabulary_size,
            start=start,
            pin=pin,
        )
    source = _finite(data, cache=cache / "downloads", context=context)
    if share:
        source = TrainingPart(source=source, share=share)
    tokens = tokenized(source, tokenizer=tokenizer, cache=cache / "tokens")
    if len(tokens) <= length:
        raise _too_short(len(tokens), length=length)
    return WindowBatches(
        tokens,
        sequence_length=length,
        vocabulary_size=tokenizer.vocabulary_size,
        seed=spec.training.seed,
        identity=identity,
        start=start,
        pin=pin,
    )


def open_held_out(
    spec: SwarmSpec,
    *,
    cache: Path,
    hub_sign_in: bool = False,
    context: ssl.SSLContext | None = None,
) -> HeldOut:
    """Prepare the text for the spec's evaluations: all that `open_data` leaves out, or the source
    that the spec names for it; `MOST_HELD_OUT` characters of it at most. Takes as long.

    Arguments as of `open_data`. Raises `DataError`.
    """
    share, where = _share(spec), spec.data.held_out or spec.data
    assert not isinstance(where, SlotData)
    assert not isinstance(spec.data.tokenizer, SlotTokenizer)
    tokenizer = open_tokenizer(spec.data.tokenizer)
    if isinstance(where, HubDataset):
        order = order_key(spec.training.seed, identity=b"held out")  # the same for all peers
        stream = HubText(
            data=where, order=order, cache=cache, sign_in=hub_sign_in, is_endless=False
        )
        # of a stream of its own, all is taken that comes first
        looked_at = MOST_LOOKED_AT if share else MOST_HELD_OUT
        part = HeldOutPart(source=stream, share=share or 1.0, most_looked_at=looked_at)
    else:
        source = _finite(where, cache=cache / "downloads", context=context)
        part = HeldOutPart(source=source, share=share or 1.0)
    memory = HUB_MEMORY if isinstance(where, HubDataset) else MEMORY
    tokens = tokenized(part, tokenizer=tokenizer, cache=cache / "tokens", memory=memory)
    prompts = encoded_prompts(spec.training.evaluation.prompts, tokenizer=tokenizer)
    return HeldOut(tokens=tokens, tokenizer=tokenizer, prompts=prompts)


def _share(spec: SwarmSpec) -> float:
    """Of the training data, that is held out."""
    evaluation = spec.training.evaluation
    return evaluation.share if evaluation.is_on and spec.data.held_out is None else 0.0


def _finite(
    data: BuiltinData | FileData | HttpsFile, *, cache: Path, context: ssl.SSLContext | None
) -> Source:
    if isinstance(data, BuiltinData):
        return PythonDocs()
    if isinstance(data, FileData):
        paths, field = tuple(Path(path).expanduser() for path in data.paths), "dataset_info.paths"
    else:
        paths, field = (fetch(data, cache=cache, context=context),), "dataset_info.url"
    return TextFiles(paths=paths, format=data.format, text_field=data.text_field, field=field)


def _too_short(tokens: int, *, length: int) -> DataError:
    message = _(
        "holds {tokens:,} tokens, but one sample takes {needed:,}"
        " (training_params.sequence_length {length:,} and the token after it)."
    )
    return DataError(
        message.format(tokens=tokens, needed=length + 1, length=length),
        field="dataset_info",
        remedy=_("Give more text, or lower training_params.sequence_length."),
    )
