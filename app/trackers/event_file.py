"""An event file that TensorBoard reads.

tensorboardX has the format. Its `SummaryWriter` isn't used: it writes in a thread of its own, which
ends at the first error of the disk, and then each call waits for ever.
"""

import time
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from app.trackers.point import TrackedPoint

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

VERSION = "brain.Event:2"
"""Of the format; the first event of a file names it."""


class EventFile:
    """A new file in a folder. TensorBoard reads a folder's files as one run, by their names.

    Importing tensorboardX takes some hundredths of a second once torch and protobuf are there, so
    a file is made in a thread. All methods raise `OSError`.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{now:.6f}"  # the usual ones end with the host's name
        self._writer = RecordWriter(str(folder / name))
        self._write(Event(wall_time=now, file_version=VERSION))

    def add(self, point: TrackedPoint) -> None:
        """Write a point, at once to the disk."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import text

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in point.values.items()]
        self._write(Event(wall_time=point.time, step=point.step, summary=Summary(value=values)))
        for each in point.texts:
            # TensorBoard shows Markdown, in which indented lines are code: as they are
            summary = text(each.name, indent(each.text, "    ", lambda _line: True))
            self._write(Event(wall_time=point.time, step=each.step, summary=summary))

    def _write(self, event: "Event") -> None:
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
