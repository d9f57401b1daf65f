"""Weights to begin with: only data (safetensors), and always the same for all peers."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from app.common.i18n import _
from app.spec.part import SpecPart
from app.spec.sources.pinned import PinnedFile, PinnedRepository

CONFIG_FILE = "config.json"
"""Says what the weights mean; a model of weights has exactly one."""

WEIGHTS_SUFFIX = ".safetensors"

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class HubWeights(PinnedRepository):
    """A model's repository on the Hugging Face hub: its config and its safetensors files."""

    source: Literal["hub"]


class HttpsWeights(SpecPart):
    """A model's config and safetensors files, each at an https address."""

    source: Literal["https"]
    files: tuple[PinnedFile, ...] = Field(min_length=2, max_length=200)

    @model_validator(mode="after")
    def _are_a_model(self) -> "HttpsWeights":
        names = [file_name(each.url) for each in self.files]
        for name in names:
            is_known = name == CONFIG_FILE or name.endswith(WEIGHTS_SUFFIX)
            if not is_known or not _FILE_NAME.fullmatch(name):
                text = _("{name!r} is neither config.json nor a safetensors file; remove it")
                raise ValueError(text.format(name=name[:100]))
        if CONFIG_FILE not in names:
            raise ValueError(_("the files need a config.json, which says what the weights mean"))
        if len(set(names)) < len(names):
            raise ValueError(_("two of the files have the same name"))
        return self

    @property
    def bytes(self) -> int | None:
        """Of all files together; None where a size isn't said."""
        sizes = [each.bytes or 0 for each in self.files]
        return sum(sizes) if all(sizes) else None


PretrainedSpec = Annotated[HubWeights | HttpsWeights, Field(discriminator="source")]


def file_name(url: str) -> str:
    """The name of the file at an address: the end of its path."""
    return PurePosixPath(urlsplit(url).path).name
