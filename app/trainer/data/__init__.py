"""The training data: from a spec's ``dataset_info`` to endless batches of tokens.

`open_data` is the door. Behind it a finite source (built in, files, one https file) becomes a
flat file of tokens in the cache, of which random windows are drawn; a data set of the Hugging
Face hub becomes a shuffled stream, packed into sequences.

    documents.py   text out of files           hub.py        text out of the hub
    download.py    an https file into the cache  tokenizer.py  text to tokens
    corpus.py      a finite source as one memory-mapped array of tokens
    batches.py     what the training loop draws from
"""

import ssl
from pathlib import Path

from app.common.errors import DataError
from app.common.i18n import _
from app.spec.schema import BuiltinData, FileData, HttpsData, HubData, SwarmSpec
from app.trainer.data.batches import Batches, StreamBatches, WindowBatches
from app.trainer.data.corpus import Source, tokenised
from app.trainer.data.documents import PythonDocs, TextFiles
from app.trainer.data.download import fetch
from app.trainer.data.hub import hub_documents
from app.trainer.data.tokenizer import open_tokenizer

__all__ = ["Batches", "open_data"]


def open_data(
    spec: SwarmSpec,
    *,
    identity: bytes,
    cache: Path,
    start: int = 0,
    pin: bool = False,
    context: ssl.SSLContext | None = None,
) -> Batches:
    """Prepare the spec's data and stand at sample number ``start`` of this peer's own order.

    May take long (a download, tokenising), so it belongs into a thread. Prepared data is kept
    below ``cache`` and reused.

    identity: this peer's id. Peers of one spec draw different samples, each always the same.
    pin: put batches into page-locked memory, from which a CUDA device copies faster.
    context: whom to trust instead of the public authorities (a server of a test).

    Raises `DataError`, which names the field of the spec.
    """
    data, length = spec.data, spec.training.sequence_length
    tokenizer = open_tokenizer(data.tokenizer)
    if isinstance(data, HubData):
        documents = hub_documents(
            data, seed=spec.training.seed, identity=identity, start=start, cache=cache / "hub"
        )
        return StreamBatches(
            documents, tokenizer=tokenizer, sequence_length=length, start=start, pin=pin
        )
    source = _finite(data, cache=cache / "downloads", context=context)
    tokens = tokenised(source, tokenizer=tokenizer, cache=cache / "tokens")
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
