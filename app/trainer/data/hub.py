"""Stream documents of a data set of the Hugging Face hub, without downloading it as a whole."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from app.common.errors import DataError
from app.common.i18n import _
from app.spec.sources.data import HubDataset
from app.trainer.data.documents import Piece, pieces_of, text_of
from app.trainer.data.held_out import Split, trained_on
from app.trainer.data.tokenizer import TokenArray, Tokenizer, tokens_of

if TYPE_CHECKING:
    import datasets

_BUFFER = 1000
"""Documents in memory, from which the next one is chosen at random."""

HUB_MEMORY = 4 * 2**30
"""Bytes that the process which reads a data set of the hub may take, with that buffer."""

_FORMATS = frozenset({"arrow", "csv", "json", "parquet", "text"})
"""Formats that hold data alone. Others may hold pickles, and loading a pickle runs code."""


def hub_tokens(
    data: HubDataset,
    *,
    tokenizer: Tokenizer,
    order: int,
    cache: Path,
    sign_in: bool,
    share: float = 0.0,
) -> Iterator[TokenArray]:
    """Endless tokens of the data set that a spec names. order: see `documents_of`.

    sign_in: with the user's own sign-in at the hub. share: of the text, that is held out.

    Raises `DataError`.
    """
    pieces = HubText(data=data, order=order, cache=cache, sign_in=sign_in).pieces()
    if share:
        pieces = trained_on(pieces, Split(share, keep_first=False))
    return tokens_of(pieces, tokenizer=tokenizer)


@dataclass(frozen=True, kw_only=True)
class HubText:
    """A data set of the hub, in an order of its own."""

    data: HubDataset

    order: int
    """See `documents_of`."""

    cache: Path

    sign_in: bool
    """With the user's own sign-in at the hub."""

    is_endless: bool = True
    """One pass over the data set after the other; False: one."""

    def fingerprint(self) -> str:
        """Which data set, and in which order."""
        return f"{self.order}\n{self.data.model_dump_json(include=set(HubDataset.model_fields))}"

    def pieces(self) -> Iterator[Piece]:
        """All documents. Raises `DataError`."""
        data = self.data
        dataset = _opened(data, cache=self.cache / "hub", sign_in=self.sign_in)
        texts = documents_of(
            dataset,
            name=data.name,
            text_field=data.text_field,
            order=self.order,
            is_endless=self.is_endless,
        )
        return (piece for text in texts for piece in pieces_of(text))


def documents_of(
    dataset: "datasets.IterableDataset",
    *,
    name: str,
    text_field: str,
    order: int,
    is_endless: bool = True,
) -> Generator[str, None, None]:
    """Endless documents: one pass over the data set after the other, each in another order; or
    those of the first pass.

    ``order`` decides the order of the shards and, within a buffer of `_BUFFER`, of the documents.
    A stream can't be entered in the middle. So a peer that resumes passes an ``order`` that
    depends on its position, and begins another random order.

    Raises `DataError`.
    """
    # Row groups become shards, in formats that have them: peers then draw from different parts even
    # of a single file.
    shuffled = dataset.reshard().shuffle(seed=order, buffer_size=_BUFFER)
    for epoch in count() if is_endless else range(1):
        shuffled.set_epoch(epoch)
        found = False
        for text in _one_pass(shuffled, name=name, text_field=text_field):
            found = True
            yield text
        if not found:
            message = _("the data set {name} holds no text in {column!r}.")
            raise DataError(
                message.format(name=name, column=text_field),
                field="dataset_info.split",
                remedy=_("Name another split or column."),
            )


def _one_pass(dataset: "datasets.IterableDataset", *, name: str, text_field: str) -> Iterator[str]:
    from datasets.exceptions import DatasetsError

    where = _("the data set {name}").format(name=name)
    try:
        for row in dataset:
            text = text_of(row, text_field=text_field, where=where)
            if text is not None:
                yield text
    except MemoryError:
        raise
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:  # the library has retried
        raise _unreachable(name, error) from error


def _opened(data: HubDataset, *, cache: Path, sign_in: bool) -> "datasets.IterableDataset":
    _check_name(data.name)
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        builder = datasets.load_dataset_builder(
            f"hf://datasets/{data.name}",  # never a local folder of the same name
            data.config,
            revision=data.revision,
            cache_dir=str(cache),
            # An invite could otherwise name what only this user may read.
            token=None if sign_in else False,
        )
        check_harmless(builder, name=data.name)
        return builder.as_streaming_dataset(split=data.split)
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:
        raise _unreachable(data.name, error) from error


def _check_name(name: str) -> None:
    """Refuse names without an owner: some of them (``text``, ``json``) are loaders of the library
    that read files of the current folder."""
    owner, _slash, short = name.partition("/")
    if not short or {owner, short} & {".", ".."}:
        raise DataError(
            _("{name!r} is not a full name of a data set.").format(name=name),
            field="dataset_info.name",
            remedy=_("Write it as on the hub: owner/name, such as {example}.").format(
                example="roneneldan/TinyStories"
            ),
        )


def check_harmless(builder: "datasets.DatasetBuilder", *, name: str) -> None:
    """Refuse a data set whose card names files outside the hub, or a format that may hold pickles.

    A card may say ``data_files: /home/…``, and the gradients that we send would reveal what these
    files say. datasets 5.2 refuses such a card itself; this check doesn't rely on it.
    """
    files = [str(file) for files in (builder.config.data_files or {}).values() for file in files]
    kind = type(builder).__module__.split(".")[-1]
    if kind not in _FORMATS:
        reason = _("its format is {kind!r}").format(kind=kind)
    elif strangers := [file for file in files if not file.startswith("hf://datasets/")]:
        reason = _("its card points outside the hub, at {file}").format(file=strangers[0])
    else:
        return
    raise DataError(
        _("the data set {name} is refused: {reason}.").format(name=name, reason=reason),
        field="dataset_info.name",
        remedy=_("Use a data set with files in one of: {formats}.").format(
            formats=", ".join(sorted(_FORMATS))
        ),
    )


def _unreachable(name: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(
        _("the data set {name} can't be streamed: {reason}.").format(name=name, reason=reason),
        field="dataset_info.name",
        remedy=_("Check the network, the name, and that everybody may read it."),
    )
