"""Open the data of a spec, whatever its source."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.common.errors import DataError, ProtocolError
from app.common.i18n import _
from app.spec.schema import SwarmSpec
from app.spec.sources.data import (
    BuiltinData,
    FileData,
    HttpsFile,
    HubData,
    HubDataset,
    MixtureData,
    PlainData,
    SlotData,
    sources_of,
)
from app.trainer.data.batches import Batches, StreamBatches, WindowBatches, order_key
from app.trainer.data.corpus import Source, tokenized
from app.trainer.data.documents import PythonDocs, TextFiles
from app.trainer.data.held_out import (
    MOST_HELD_OUT,
    MOST_LOOKED_AT,
    HeldOut,
    HeldOutPart,
    HeldOutParts,
    TrainingPart,
)
from app.trainer.data.hub import HUB_MEMORY, HubText, hub_tokens
from app.trainer.data.mixture import Mixing, MixtureBatches
from app.trainer.data.prompts import encoded_prompts
from app.trainer.data.reader import MEMORY, read_apart
from app.trainer.data.tokenizer import Tokenizer, open_tokenizer, token_type
from app.trainer.pinned.downloads import Downloads
from app.trainer.pinned.https import fetch


def open_data(
    spec: SwarmSpec,
    *,
    identity: bytes,
    downloads: Downloads,
    start: int = 0,
    pin: bool = False,
) -> Batches:
    """Prepare the spec's data; the first batch begins at sample number ``start``.

    May take minutes, for a download and for tokenizing. Prepared data is kept in the cache of the
    downloads and reused.

    identity: this peer's id as bytes. Each peer of a swarm draws its own samples in its own order,
    the same ones at each start.
    pin: put batches into page-locked memory, from which a CUDA device copies faster.

    Raises `DataError`, which names the field of the spec.
    """
    tokenizer = open_tokenizer(spec.data.tokenizer, downloads)
    opening = _Opening(spec=spec, tokenizer=tokenizer, downloads=downloads, pin=pin)
    if not isinstance(spec.data, MixtureData):
        return opening.open(spec.data, identity=identity, start=start)
    mixing = Mixing(
        [part.weight for part in spec.data.parts],
        key=order_key(spec.training.seed, identity=identity + b"mixture"),
    )
    starts = zip(sources_of(spec.data).items(), mixing.counts(start), strict=True)
    with contextlib.ExitStack() as unless_all_open:
        opened: list[Batches] = []
        for (field, source), first in starts:
            with _named(field):
                batches = opening.open(source, identity=identity + field.encode(), start=first)
            unless_all_open.callback(batches.close)
            opened.append(batches)
        unless_all_open.pop_all()
    return MixtureBatches(opened, mixing, start=start, pin=pin)


def open_held_out(
    spec: SwarmSpec,
    *,
    downloads: Downloads,
) -> HeldOut:
    """Prepare the text for the spec's evaluations: all that `open_data` leaves out, or the source
    that the spec names for it; `MOST_HELD_OUT` characters of it at most. Takes as long.

    Arguments as of `open_data`. Raises `DataError`.
    """
    tokenizer, data = open_tokenizer(spec.data.tokenizer, downloads), spec.data
    sources: dict[str, PlainData | HttpsFile | HubDataset] = dict(sources_of(data))
    weights = [part.weight for part in data.parts] if isinstance(data, MixtureData) else [1.0]
    if data.held_out is not None:
        sources, weights = {"dataset_info.held_out": data.held_out}, [1.0]
    parts = [_held_out(spec, where, downloads, field) for field, where in sources.items()]
    is_streamed = any(isinstance(each, HubDataset) for each in sources.values())
    tokens = tokenized(
        HeldOutParts(parts=tuple(parts), weights=tuple(weights)) if len(parts) > 1 else parts[0],
        tokenizer=tokenizer,
        cache=downloads.cache / "tokens",
        memory=HUB_MEMORY if is_streamed else MEMORY,
    )
    prompts = encoded_prompts(spec.training.evaluation.prompts, tokenizer=tokenizer)
    return HeldOut(tokens=tokens, tokenizer=tokenizer, prompts=prompts)


def _held_out(
    spec: SwarmSpec,
    where: PlainData | HttpsFile | HubDataset,
    downloads: Downloads,
    field: str,
) -> HeldOutPart:
    """Of one source; all of it where it is for evaluations alone."""
    share = _share(spec)
    with _named(field):
        if not isinstance(where, HubDataset):
            return HeldOutPart(source=_finite(where, downloads), share=share or 1.0)
        stream = HubText(
            data=where,
            order=order_key(spec.training.seed, identity=b"held out"),  # the same for all peers
            cache=downloads.cache,
            sign_in=downloads.sign_in,
            is_endless=False,
        )
        # of a stream of its own, all is taken that comes first
        looked_at = MOST_LOOKED_AT if share else MOST_HELD_OUT
        return HeldOutPart(source=stream, share=share or 1.0, most_looked_at=looked_at)


def _share(spec: SwarmSpec) -> float:
    """Of the training data, that is held out."""
    evaluation = spec.training.evaluation
    return evaluation.share if evaluation.is_on and spec.data.held_out is None else 0.0


@contextlib.contextmanager
def _named(field: str) -> Iterator[None]:
    """Let errors of a part of a mixture name its own field."""
    try:
        yield
    except DataError as error:
        own = error.field.replace("dataset_info", field, 1)
        raise DataError(error.message, field=own, remedy=error.remedy) from error


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """What all sources of a spec have in common."""

    spec: SwarmSpec
    tokenizer: Tokenizer
    downloads: Downloads
    pin: bool

    def open(self, data: PlainData, *, identity: bytes, start: int) -> Batches:
        """Of one source. start: samples of this source that were drawn before."""
        return (
            self._stream(data, identity=identity, start=start)
            if isinstance(data, HubData)
            else self._windows(data, identity=identity, start=start)
        )

    def _stream(self, data: HubData, *, identity: bytes, start: int) -> Batches:
        stream = partial(
            hub_tokens,
            data,
            tokenizer=self.tokenizer,
            order=order_key(self.spec.training.seed, identity=identity, start=start),
            cache=self.downloads.cache,
            sign_in=self.downloads.sign_in,
            share=_share(self.spec),
        )
        kind = token_type(self.tokenizer.vocabulary_size)
        return StreamBatches(
            read_apart(stream, dtype=kind, memory=HUB_MEMORY),
            sequence_length=self.spec.training.sequence_length,
            vocabulary_size=self.tokenizer.vocabulary_size,
            start=start,
            pin=self.pin,
        )

    def _windows(
        self, data: BuiltinData | FileData | HttpsFile | SlotData, *, identity: bytes, start: int
    ) -> Batches:
        source, length = _finite(data, self.downloads), self.spec.training.sequence_length
        if share := _share(self.spec):
            source = TrainingPart(source=source, share=share)
        cache = self.downloads.cache / "tokens"
        tokens = tokenized(source, tokenizer=self.tokenizer, cache=cache)
        if len(tokens) <= length:
            raise _too_short(len(tokens), length=length)
        return WindowBatches(
            tokens,
            sequence_length=length,
            vocabulary_size=self.tokenizer.vocabulary_size,
            seed=self.spec.training.seed,
            identity=identity,
            start=start,
            pin=self.pin,
        )


def _finite(data: BuiltinData | FileData | HttpsFile | SlotData, downloads: Downloads) -> Source:
    match data:
        case BuiltinData():
            return PythonDocs()
        case FileData():
            paths = tuple(Path(path).expanduser() for path in data.paths)
            field = "dataset_info.paths"
        case SlotData():
            raise ProtocolError("the app fills the slots of a spec before it starts a trainer")
        case HttpsFile():
            with downloads.arriving("data") as arrival:
                path = fetch(
                    data.url,
                    sha256=data.sha256,
                    field="dataset_info",
                    cache=downloads.files,
                    arrival=arrival,
                    context=downloads.context,
                )
            paths, field = (path,), "dataset_info.url"
    return TextFiles(paths=paths, format=data.format, text_field=data.text_field, field=field)


def _too_short(tokens: int, *, length: int) -> DataError:
    message = _(
        "the data holds {tokens:,} tokens, but one sample takes {needed:,}: {length:,} and the"
        " token after them."
    )
    return DataError(
        message.format(tokens=tokens, needed=length + 1, length=length),
        field="dataset_info",
        remedy=_("Give more text, or let the swarm train on shorter samples."),
    )
