"""What a spec pins: a file by its hash, a repository of the hub by its commit."""

from typing import Annotated

from pydantic import Field, StringConstraints

from app.spec.part import SpecPart

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The hash of a file's content, in hexadecimal."""

HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[^\s]+$", max_length=2048)]

Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
"""A commit of a repository: unlike a branch or a tag, it never means other files."""

RepositoryName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", max_length=200)
]
"""``owner/name``, as on the hub."""

FileBytes = Annotated[int, Field(gt=0, le=2**50)]
"""Size of a download, for the preview; what is larger is refused."""


class PinnedFile(SpecPart):
    """One file behind an https address; any other content is refused."""

    url: HttpsUrl
    sha256: Sha256
    bytes: FileBytes | None = None


class PinnedRepository(SpecPart):
    """A repository of the Hugging Face hub at one commit."""

    name: RepositoryName
    revision: Revision
    bytes: FileBytes | None = None
