"""Send an exported folder to a repository of a model hub, file by file.

A file of weights that has arrived stays there even if the upload breaks off later, and the hub
says of each whether it has it: a second try sends only the rest. Nothing is to be seen in the
repository before the last step, one commit.
"""

import io
import logging
from collections.abc import Callable
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from typing_extensions import override

from app.common.errors import ExportError
from app.common.i18n import _
from app.message import Message
from app.takeout.marker import MARKER, files_of
from app.takeout.messages import ExportProgress, ExportStep, Upload, Uploaded

log = logging.getLogger(__name__)

_BUFFER = 2**20
_REPORT_BYTES = 4 * 2**20
"""Between two reports."""

_KEPT = {".gitattributes"}
"""What a hub puts into each new repository."""

_OURS = (
    "model*.safetensors",
    "model.safetensors.index.json",
    "*config.json",
    "tokenizer*.json",
    "adapter/*",
)
"""What an export may hold, and the next one of other weights may lack: a loader would take the rest
of both for one model."""


def upload(order: Upload, send: Callable[[Message], None]) -> None:
    """Make the repository if it doesn't exist, send the files, and commit them.

    Raises `ExportError`.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    paths = files_of(Path(order.folder))
    if paths is None:
        raise ExportError(
            _("is no folder that this app exported, or was changed since."),
            field=order.folder,
            remedy=_("Export the model once more."),
        )
    if not (token := order.token or get_token()):
        raise _no_token()
    try:
        _upload(HfApi(token=token), order, paths, send)
    except (OSError, HTTPError, RuntimeError, ValueError) as error:
        log.info("the upload broke off", exc_info=error)
        # the library wraps what one file's upload raises
        cause = error.__cause__ if type(error) is RuntimeError else error
        if isinstance(cause, HfHubHTTPError):
            raise _refused(cause, order.repository) from error
        raise _broken_off(cause or error, order.repository) from error


def _upload(api: Any, order: Upload, paths: list[Path], send: Callable[[Message], None]) -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    repository = order.repository
    api.create_repo(repository, private=not order.public, exist_ok=True)
    info = api.repo_info(repository)
    _check_repository(info, order)
    names = {path.relative_to(order.folder).as_posix() for path in paths}
    old = sorted(each for each in _names_in(info) - names if _is_ours(each))
    with ExitStack() as open_files:
        streams = [open_files.enter_context(_Counted(path)) for path in paths]
        size = sum(stream.size for stream in streams)
        hashing, sending = (
            _Meter(step, size, send) for step in (ExportStep.HASHING, ExportStep.UPLOADING)
        )
        additions = []
        for stream in streams:
            stream.meter = hashing
            name = stream.path.relative_to(order.folder).as_posix()
            additions.append(CommitOperationAdd(path_in_repo=name, path_or_fileobj=stream))
        for addition, stream in zip(additions, streams, strict=True):
            stream.meter = sending
            api.preupload_lfs_files(repository, additions=[addition], free_memory=False)
            sending.complete(stream)
        summary = f"Export of {Path(order.folder).name}"
        deletions = [CommitOperationDelete(path_in_repo=each) for each in old]
        api.create_commit(repository, [*additions, *deletions], commit_message=summary)
    send(Uploaded(url=f"{api.endpoint}/{repository}", public=not info.private))


def _check_repository(info: Any, order: Upload) -> None:
    """Raises `ExportError` for a repository that others see against the user's will, or that holds
    something else than an export of ours."""
    if not info.private and not order.public:
        raise ExportError(
            _("this repository exists, and everybody can see it."),
            field=order.repository,
            remedy=_("Choose another name, or allow that everybody sees it (--public)."),
        )
    found = _names_in(info)
    if found and MARKER not in found and not order.overwrite:
        raise ExportError(
            _("this repository holds something else than an export of this app."),
            field=order.repository,
            remedy=_("Choose another name, or allow overwriting (--overwrite)."),
        )


def _names_in(info: Any) -> set[str]:
    return {each.rfilename for each in info.siblings or ()} - _KEPT


def _is_ours(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _OURS)


# --- progress


class _Meter:
    """Reports how many bytes of all files are read."""

    def __init__(self, step: ExportStep, size: int, send: Callable[[Message], None]) -> None:
        self._step = step
        self._size = size
        self._send = send
        self._read: dict[Path, int] = {}
        self._told = -_REPORT_BYTES

    def reach(self, stream: "_Counted", position: int) -> None:
        """A file was read so far; a part that is repeated doesn't count again."""
        self._read[stream.path] = max(position, self._read.get(stream.path, 0))
        done = sum(self._read.values())
        if done >= self._told + _REPORT_BYTES or done == self._size:
            self._told = done
            self._send(ExportProgress(step=self._step, done=done, size=self._size))

    def complete(self, stream: "_Counted") -> None:
        """All of a file is there, read or not: the hub may have had it."""
        self.reach(stream, stream.size)


class _Counted(io.BufferedReader):
    """A file that tells a meter how far it was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path), _BUFFER)
        self.path = path
        self.size = path.stat().st_size
        self.meter: _Meter | None = None

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if self.meter is not None:
            self.meter.reach(self, self.tell())
        return content


# --- what may go wrong


def _no_token() -> ExportError:
    return ExportError(
        _("there is no access token for the hub."),
        field="HF_TOKEN",
        remedy=_(
            "Make one with the right to write at huggingface.co/settings/tokens, and type it in,"
            " set HF_TOKEN, or sign in with 'hf auth login'."
        ),
    )


def _refused(error: Any, repository: str) -> ExportError:
    status = error.response.status_code
    if status in (401, 403):
        return ExportError(
            _("the hub doesn't let this token write there."),
            field=repository,
            remedy=_("Check the owner's name, and that the token has the right to write."),
        )
    reason = getattr(error, "server_message", None) or f"HTTP {status}"
    return _broken_off(reason, repository)


def _broken_off(reason: object, repository: str) -> ExportError:
    said = " ".join(str(reason).split())[:400].rstrip(".")
    return ExportError(
        _("the upload broke off: {reason}.").format(reason=said),
        field=repository,
        remedy=_("Try it again: what has arrived isn't sent a second time."),
    )
