"""The training data of a spec, and the tokenizer that turns it into tokens."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.common.i18n import _
from app.spec.part import SpecPart
from app.spec.slots import Slot
from app.spec.sources.pinned import HttpsUrl, Sha256


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


_Tokenizer = Annotated[BytesTokenizer | FileTokenizer | SlotTokenizer, Field(discriminator="kind")]


class _Source(SpecPart):
    tokenizer: _Tokenizer = BytesTokenizer()


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


class HttpsData(_Source):
    """One file from an https URL, verified by its hash and kept in the cache."""

    source: Literal["https"]
    url: HttpsUrl
    sha256: Sha256
    format: Literal["auto", "text", "jsonl", "parquet"] = "auto"
    text_field: str = "text"


class HubData(_Source):
    """A data set of the Hugging Face hub, streamed. One that needs its own code is refused."""

    source: Literal["hub"]
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$", max_length=200)
    config: str | None = Field(None, max_length=200)
    split: str = Field("train", max_length=200)
    revision: str | None = Field(None, max_length=100)
    text_field: str = "text"


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


DataSpec = Annotated[
    BuiltinData | FileData | HttpsData | HubData | SlotData, Field(discriminator="source")
]
