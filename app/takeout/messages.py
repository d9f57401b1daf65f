"""Every message between the app and the process that exports a model or uploads it.

That process is `main.py --trainer --export`. It reads one order, a line of JSON, from its stdin,
reports on its stdout, and ends. It says its version first, in `app.protocol.Hello`: a change of a
message here raises `app.protocol.VERSION`, too.
"""

from enum import StrEnum
from typing import Any

import msgspec

from app.common.errors import ProtocolError
from app.message import Message
from app.protocol import Hello, TrainerProblem


class ExportStep(StrEnum):
    """What that process is doing."""

    FETCHING = "fetching"  # the swarm's weights, from a trainer or a door
    LOADING = "loading"  # importing torch and transformers
    READING = "reading"  # the checkpoint
    WRITING = "writing"
    CHECKING = "checking"  # loads what it wrote, as anybody would
    HASHING = "hashing"  # what the hub may have already isn't sent again
    UPLOADING = "uploading"


class ExportFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the app knows of a run, for the model card. "", () and None: not known."""

    since: float | None = None
    """When this machine wrote its first checkpoint of the run, in seconds since the epoch."""

    contributors: tuple[str, ...] = ()
    """Aliases of machines that train it, as they call themselves."""


class Export(Message, frozen=True):
    """Write the newest sound checkpoint as a folder that transformers loads."""

    spec: dict[str, Any]
    """A `SwarmSpec` as JSON; its tokenizer is no slot."""

    checkpoint_dirs: tuple[str, ...]
    """Folders with checkpoints of this run, one for each of this machine's trainers."""

    cache_dir: str
    """Where a trainer keeps its downloads: pretrained weights, a tokenizer."""

    folder: str
    """The folder to write into, which exists and is empty."""

    facts: ExportFacts


class Upload(Message, frozen=True):
    """Send an exported folder to a repository of a model hub."""

    folder: str

    repository: str
    """``owner/name``."""

    public: bool
    """Whether everybody may see the repository, if it doesn't exist yet."""

    overwrite: bool
    """Write into a repository that holds something else than an export of this app."""

    token: str
    """Of the user, "" for the one that `huggingface_hub` finds. It travels by the pipe alone."""


class FetchWeights(Message, frozen=True):
    """Fetch the swarm's newest weights to a machine that doesn't train, and keep them as a
    checkpoint."""

    spec: dict[str, Any]
    """A `SwarmSpec` as JSON; its tokenizer is no slot."""

    initial_peers: tuple[str, ...]
    """Multiaddrs to enter by."""

    identity_file: str
    """Of the peer that asks; "" for a made-up one, which a closed swarm doesn't serve."""

    roster_file: str
    """Where the app keeps the newest roster of a closed swarm."""

    cache_dir: str
    """Where a trainer keeps its downloads; what is missing is downloaded."""

    folder: str
    """For the checkpoint."""

    hub_sign_in: bool = False
    """Read the Hugging Face hub with the user's own sign-in."""


ExportOrder = Export | Upload | FetchWeights


class ExportProgress(Message, frozen=True):
    """How far it is."""

    step: ExportStep

    done: int = 0
    """Bytes of this step."""

    size: int = 0
    """Bytes of this step in all; 0 where they aren't known."""

    seconds_left: float | None = None
    """Of a download; None where it isn't known."""


class Exported(Message, frozen=True):
    """The folder is complete, and was loaded once."""

    epoch: int
    """That the weights are of."""

    parameters: int

    size: int
    """Bytes of all files."""

    passed_over: tuple[str, ...] = ()
    """Names of newer checkpoints that are damaged."""

    exact_tokenizer: bool = True
    """`AutoTokenizer` gives the tokens of the training for each text. Else the model card says how
    to load a tokenizer that does."""


class Uploaded(Message, frozen=True):
    """The repository holds the folder."""

    url: str

    public: bool
    """Whether everybody may see it."""


class WeightsFetched(Message, frozen=True):
    """The checkpoint is there."""

    epoch: int
    """That the weights are of."""

    from_door: bool
    """They are a door's snapshot, since no trainer gave them."""


ExportReport = Hello | ExportProgress | Exported | Uploaded | WeightsFetched | TrainerProblem

_orders: msgspec.json.Decoder[ExportOrder] = msgspec.json.Decoder(ExportOrder)
_reports: msgspec.json.Decoder[ExportReport] = msgspec.json.Decoder(ExportReport)


def decode_order(line: bytes) -> ExportOrder:
    """Parse the app's line. Raises `ProtocolError`."""
    try:
        return _orders.decode(line)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"no order of ours: {error}") from error  # the line may hold a token


def decode_report(line: bytes) -> ExportReport:
    """Parse a line of the process that exports. Raises `ProtocolError`."""
    try:
        return _reports.decode(line)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"no report of ours: {error}: {line[:200]!r}") from error
