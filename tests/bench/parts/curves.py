"""The charts' curves: what keeping them costs, with each ring full, as after two weeks."""

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import ROOT, row

sys.path.insert(0, str(ROOT))

from app.curves.keeper import CurveKeeper
from app.curves.storage import FILE_NAME, CurveFile, StoredRun
from app.state.history import BUCKETS, RESOLUTIONS, History

NOW = 1_800_000_000.0
RUN = StoredRun(run_id="bench", title="Bench", saved_at=NOW)


def full_history() -> History:
    """Every bucket of every curve has values."""
    history = History()
    for series in history.series.values():
        for resolution in RESOLUTIONS:
            newest = int(NOW // resolution)
            series.restore(
                resolution, [(newest - age, 2.5 + age / 7, 9) for age in range(BUCKETS, 0, -1)]
            )
    return history


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the milliseconds of CPU time that it took."""
    begun = time.thread_time()
    return call(), 1e3 * (time.thread_time() - begun)


def curves() -> None:
    """CPU time on the loop and in the thread, memory, and the size of the file."""
    tracemalloc.start()
    history = full_history()
    memory, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE_NAME
        keeper, file = CurveKeeper(history, file=path, dispatch=print), CurveFile.open(path)
        everything, taking_all = timed(keeper._changes)
        _, writing_all = timed(lambda: file.save(RUN, everything))
        keeper._written.newest = {ring: buckets[-1] for ring, buckets in everything.items()}
        for half_second in range(60):
            for series in history.series.values():
                series.add(NOW + half_second / 2, 2.0)
        news, taking = timed(keeper._changes)
        _, writing = timed(lambda: file.save(RUN, news))
        kept, loading = timed(lambda: file.load(RUN.run_id))
        empty = History().series

        def restore() -> None:
            for (name, resolution), buckets in kept.items():
                empty[name].restore(resolution, buckets)

        _, restoring = timed(restore)
        file.close()
        size = path.stat().st_size
    row(
        "curves, every 30 s: on the loop / in a thread",
        f"{taking:.1f} / {writing:.0f} ms",
        "≤ 5 ms",
    )
    row("all of them at once", f"{taking_all:.1f} / {writing_all:.0f} ms", "≤ 5 ms")
    row("joining again", f"{restoring:.1f} / {loading:.0f} ms", "≤ 5 ms")
    row("memory / file", f"{memory / 1e6:.1f} / {size / 1e6:.2f} MB", "≤ 5 / 0.6 MB")
