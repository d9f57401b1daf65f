"""Open the data of a spec, whatever its source."""

import ssl
from functools import partial
from pathlib import Path

from app.common.errors import DataError, ProtocolError
from app.common.i18n import _
from app.spec.schema import SwarmSpec
from app.spec.sources.data import BuiltinData, FileData, HttpsData, HubData, SlotData, SlotTokenizer
from app.trainer.data.batches import Batches, StreamBatches, WindowBatches, order_key
from app.trainer.data.corpus import Source, tokenized
from app.trainer.data.documents import PythonDocs, TextFiles
from app.trainer.data.hub import HUB_MEMORY, hub_tokens
from app.trainer.data.reader import read_apart
from app.trainer.data.tokenizer import open_tokenizer, token_type
from app.trainer.pinned.https import fetch


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
    tokenizer = open_tokenizer(data.tokenizer)
    if isinstance(data, HubData):
        order = order_key(spec.training.seed, identity=identity, start=start)
        stream = partial(
            hub_tokens, data, tokenizer=tokenizer, order=order, cache=cache, sign_in=hub_sign_in
        )
        return StreamBatches(
            read_apart(stream, dtype=token_type(tokenizer.vocabulary_size), memory=HUB_MEMORY),
            sequence_length=length,
            vocabulary_size=tokenizer.vocabulary_size,
            start=start,
            pin=pin,
        )
    source = _finite(data, cache=cache / "downloads", context=context)
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


def _finite(
    data: BuiltinData | FileData | HttpsData, *, cache: Path, context: ssl.SSLContext | None
) -> Source:
    if isinstance(data, BuiltinData):
        return PythonDocs()
    if isinstance(data, FileData):
        paths, field = tuple(Path(path).expanduser() for path in data.paths), "dataset_info.paths"
    else:
        paths, field = (_fetched(data, cache=cache, context=context),), "dataset_info.url"
    return TextFiles(paths=paths, format=data.format, text_field=data.text_field, field=field)


def _fetched(data: HttpsData, *, cache: Path, context: ssl.SSLContext | None) -> Path:
    return fetch(data.url, sha256=data.sha256, field="dataset_info", cache=cache, context=context)


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
