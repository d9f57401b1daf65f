"""The training data of a spec, and the tokenizer that turns it into tokens."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.common.i18n import _
from app.spec.part import SpecPart
from app.spec.slots import Slot
from app.spec.sources.pinned import HttpsUrl, PinnedFile, PinnedRepository, Sha256


class BytesTokenizer(SpecPart):
    """Each byte of the UTF-8 text is a token: a vocabulary of 256, nothing to load."""

    kind: Literal["bytes"] = "bytes"


class FileTokenizer(SpecPart):
    """A ``tokenizer.json`` of the ``tokenizers`` library on this machine.

    Only in a spec that was written here, as `FileData`.
    """

    kind: Literal["file"]
    path: str = Field(min_length=1, max_length=4096)


class SlotTokenizer(Slot):
    """A ``tokenizer.json`` that each volunteer chooses on his machine."""

    kind: Literal["slot"]


class HubTokenizer(PinnedRepository):
    """The ``tokenizer.json`` of a repository of the Hugging Face hub."""

    kind: Literal["hub"]


class HttpsTokenizer(PinnedFile):
    """A ``tokenizer.json`` at an https address."""

    kind: Literal["https"]


TokenizerSpec = Annotated[
    BytesTokenizer | FileTokenizer | SlotTokenizer | HubTokenizer | HttpsTokenizer,
    Field(discriminator="kind"),
]


class HttpsFile(SpecPart):
    """One file from an https URL, verified by its hash and kept in the cache."""

    source: Literal["https"]
    url: HttpsUrl
    sha256: Sha256
    format: Literal["auto", "text", "jsonl", "parquet"] = "auto"
    text_field: str = "text"


class HubDataset(SpecPart):
    """A data set of the Hugging Face hub, streamed. One that needs its own code is refused."""

    source: Literal["hub"]
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$", max_length=200)
    config: str | None = Field(None, max_length=200)
    split: str = Field("train", max_length=200)
    revision: str | None = Field(None, max_length=100)
    text_field: str = "text"


class _Source(SpecPart):
    tokenizer: TokenizerSpec = BytesTokenizer()

    held_out: Annotated[HttpsFile | HubDataset, Field(discriminator="source")] | None = None
    """Text for evaluations that isn't part of the data; None: a share of the data is held out."""


class BuiltinData(_Source):
    """The text that ships with Python: ``pydoc_data.topics``, about 470 KB of English."""

    source: Literal["builtin"]
    name: Literal["python-docs"] = "python-docs"


class FileData(_Source):
    """Files on this machine. With the format ``auto``, a file's suffix decides.

    Only in a spec that was written here: an invite has slots instead (see `app.spec.filling`).

    text_field: the key or column that holds the text in JSON lines and parquet.
    """

    source: Literal["files"]
    paths: tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...] = Field(
        min_length=1, max_length=10_000
    )
    format: Literal["auto", "text", "jsonl", "parquet"] = "auto"
    text_field: str = "text"


class HttpsData(HttpsFile, _Source):
    """A file from an https URL, and its tokenizer."""


class HubData(HubDataset, _Source):
    """A data set of the hub, and its tokenizer."""


class SlotData(Slot, _Source):
    """Text that each volunteer chooses on his machine: one file, or all files of a folder."""

    source: Literal["slot"]
    format: Literal["auto", "text", "jsonl", "parquet"] = "auto"
    text_field: str = "text"

    @model_validator(mode="after")
    def _labels_differ(self) -> "SlotData":
        if isinstance(self.tokenizer, SlotTokenizer) and self.tokenizer.label == self.label:
            raise ValueError(_("data and tokenizer need two labels"))
        return self


PlainData = Annotated[
    BuiltinData | FileData | HttpsData | HubData | SlotData, Field(discriminator="source")
]
"""One source."""


class MixturePart(SpecPart):
    """A source of a mixture."""

    weight: float = Field(gt=0, le=1e6, allow_inf_nan=False)
    """How often a sample is drawn from it, in proportion to the other parts' weights."""

    data: PlainData

    @model_validator(mode="after")
    def _has_nothing_of_the_mixture(self) -> "MixturePart":
        if self.data.tokenizer.kind != "bytes":
            raise ValueError(_("all parts of a mixture have its tokenizer; name it there"))
        if self.data.held_out is not None:
            raise ValueError(_("a mixture holds text out for all its parts; name it there"))
        return self


class MixtureData(_Source):
    """Several sources, of which each sample is drawn from one by chance."""

    source: Literal["mixture"]
    parts: tuple[MixturePart, ...] = Field(min_length=2, max_length=32)

    @model_validator(mode="after")
    def _labels_differ(self) -> "MixtureData":
        slots = [part.data for part in self.parts if isinstance(part.data, SlotData)]
        labels = [slot.label for slot in slots]
        if isinstance(self.tokenizer, SlotTokenizer):
            labels.append(self.tokenizer.label)
        if len(set(labels)) < len(labels):
            raise ValueError(_("two slots of a spec need two labels"))
        return self


DataSpec = Annotated[
    BuiltinData | FileData | HttpsData | HubData | SlotData | MixtureData,
    Field(discriminator="source"),
]


def sources_of(data: DataSpec) -> dict[str, PlainData]:
    """The sources of a spec's data, by the field in which each stands."""
    if isinstance(data, MixtureData):
        return {f"dataset_info.parts.{n}.data": each.data for n, each in enumerate(data.parts)}
    return {"dataset_info": data}


def with_sources(data: DataSpec, sources: Mapping[str, PlainData]) -> DataSpec:
    """The data with other sources in the places of some. sources: as `sources_of` has them."""
    if not isinstance(data, MixtureData):
        return sources.get("dataset_info", data)
    parts = tuple(
        part.model_copy(update={"data": sources.get(field, part.data)})
        for part, field in zip(data.parts, sources_of(data), strict=True)
    )
    return data.model_copy(update={"parts": parts})


def names_files(data: DataSpec) -> bool:
    """Whether it has paths of this machine, as only specs that were written here may."""
    own = isinstance(data.tokenizer, FileTokenizer)
    return own or any(isinstance(each, FileData) for each in sources_of(data).values())
