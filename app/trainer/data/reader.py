"""Read and tokenize data in a process of its own, which may take only so much memory.

A small file can unpack to more than a machine holds, and a tokenizer can make a long text of each
character. The libraries that read them either raise, or end their process; here it isn't the
trainer's.
"""

import contextlib
import json
import logging
import os
import signal
import struct
import sys
from collections.abc import Callable, Generator, Iterable
from typing import IO

import numpy as np

from app.common.background import survived
from app.common.errors import DataError, UserFacingError
from app.common.i18n import _
from app.trainer.confinement.memory import add_limit
from app.trainer.data.tokenizer import TokenArray

log = logging.getLogger(__name__)

MEMORY = 2 * 2**30
"""Bytes that reading may take beyond what the trainer has already."""

_MOST_BYTES = 2**20
"""Of tokens in one frame on the pipe."""

_FRAME = struct.Struct("<cI")
_TOKENS, _ERROR, _END = b"T", b"E", b"."
"""What a frame holds: tokens, the fields of an error as JSON, nothing more to come."""

_OUT_OF_MEMORY = 3
"""Exit status of a reader that Python or Arrow has told so."""


def read_apart(
    make: Callable[[], Iterable[TokenArray]],
    *,
    dtype: np.dtype[np.unsignedinteger],
    memory: int = MEMORY,
) -> Generator[TokenArray, None, None]:
    """What ``make`` yields, computed in a child process, as arrays of at most `_MOST_BYTES`.

    make: called in the child. memory: bytes that the child may take beyond what it starts with.
    Closing the generator ends the child.

    Raises the `DataError` that is raised in the child, or one that says that the memory ran out.
    """
    if sys.platform != "linux":  # no such limit, and a fork breaks libraries of macOS
        yield from make()
        return
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(make, writing, dtype=dtype, memory=memory)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as stream:
            yield from _received(stream, dtype)
    except EOFError as error:
        ended, child = _end(child), 0
        raise _explained(ended, memory) from error
    finally:
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _end(child)


# --- in the trainer


def _received(
    stream: IO[bytes], dtype: np.dtype[np.unsignedinteger]
) -> Generator[TokenArray, None, None]:
    while True:
        kind, size = _FRAME.unpack(_exactly(stream, _FRAME.size))
        if kind == _END:
            return
        if size > _MOST_BYTES:
            raise EOFError
        content = _exactly(stream, size)
        if kind == _ERROR:
            raise DataError(**json.loads(content))
        yield np.frombuffer(content, dtype=dtype)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _end(child: int) -> int:
    """Wait for a child; its exit status, or minus the number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _explained(ended: int, memory: int) -> DataError:
    # The tokenizers library aborts when it gets no memory.
    if ended in (_OUT_OF_MEMORY, -signal.SIGABRT, -signal.SIGKILL):
        return DataError(
            _("reading the data takes more than {size} of memory.").format(
                size=f"{memory / 2**30:g} GiB"
            ),
            field="dataset_info",
            remedy=_("The data or the tokenizer may be made to harm: ask whoever made the swarm."),
        )
    return DataError(
        _("the process that reads the data ended unexpectedly ({status}).").format(status=ended),
        field="dataset_info",
        remedy=_("See the log for details. Get the data and the tokenizer again."),
    )


# --- in the child


def _work(
    make: Callable[[], Iterable[TokenArray]],
    descriptor: int,
    *,
    dtype: np.dtype[np.unsignedinteger],
    memory: int,
) -> None:
    """Write all frames, and end this process."""
    status = 1
    try:
        add_limit(memory)
        # Whoever draws no more closes the pipe.
        with (
            survived(log, "reading the data failed"),
            contextlib.suppress(BrokenPipeError),
            os.fdopen(descriptor, "wb") as stream,
        ):
            try:
                for array in make():
                    _write(stream, array.astype(dtype, copy=False).tobytes())
                stream.write(_FRAME.pack(_END, 0))
            except UserFacingError as error:
                fields = {"message": error.message, "field": error.field, "remedy": error.remedy}
                content = json.dumps(fields).encode()
                stream.write(_FRAME.pack(_ERROR, len(content)) + content)
            except MemoryError:  # pyarrow's own error is one as well
                os._exit(_OUT_OF_MEMORY)
            status = 0
    finally:
        os._exit(status)


def _write(stream: IO[bytes], content: bytes) -> None:
    for begin in range(0, len(content), _MOST_BYTES):
        part = content[begin : begin + _MOST_BYTES]
        stream.write(_FRAME.pack(_TOKENS, len(part)) + part)
    stream.flush()
