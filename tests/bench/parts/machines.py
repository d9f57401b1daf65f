"""Many machines: what their page takes."""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import ROOT, output_of, row, running, virtual_display

CROWDS = (10, 100, 1000, 3000)
NODES = 8
RUN_ID = "bench"
GAPS = {
    "idle": "before the page is opened",
    "first": "until the full picture",
    "watch": "in 30 s of watching",
}


@contextmanager
def crowd(machines: int) -> Iterator[tuple[list[str], float]]:
    """So many machines' records on real DHT nodes; yields addresses to enter by, and the bytes
    that one machine's publishing takes a minute."""
    with running("crowd.py", RUN_ID, str(NODES), str(machines)) as printed:
        addresses = [json.loads(printed.readline())[0] for _ in range(NODES)]
        published = float(printed.readline())
        assert printed.readline() == "published\n"
        yield addresses, published


def read_crowd(machines: int) -> dict[str, Any]:
    """The real window on a swarm of so many machines."""
    with virtual_display() as environment, tempfile.TemporaryDirectory() as name:
        file = Path(name) / "bench.cotrain"
        with crowd(machines) as (addresses, published):
            content = demo_spec() | {"run_id": RUN_ID, "initial_peers": addresses}
            file.write_text(json.dumps(content))
            arguments = ("fleet_window.py", str(file), str(machines))
            output = output_of(*arguments, environment=environment, quiet=False)
        return json.loads(output.splitlines()[-1]) | {"published": published}


def demo_spec() -> dict[str, Any]:
    """The demo's spec, as its file would be."""
    sys.path.insert(0, str(ROOT))
    from app.demo import demo_spec as spec

    return spec().to_json()


def machines() -> None:
    """The machines' page on ever larger swarms."""
    for count in CROWDS:
        found = read_crowd(count)
        target = "≤ 3 s" if count == 1000 else ""
        stall = "(≤ 50 ms)" if count == 1000 else ""
        row(f"{count} machines: full picture after", f"{found['full']:.2f} s", target)
        for name, what in GAPS.items():
            row(
                f"{count} machines: longest gap {what}",
                f"{found[f'{name}_gap']:.0f} ms",
                f"{found[f'{name}_busy']:.0f} ms of it computing {stall}".rstrip(),
            )
        row(
            f"{count} machines: memory of the window",
            f"{found['after']:.0f} MiB",
            f"{found['before']:.0f} MiB without the page",
        )
        row(
            f"{count} machines: reading, per machine and minute",
            f"{found['bytes_a_minute'] / count / 1000:.1f} kB",
            f"{found['bytes_a_minute'] / 1e6:.2f} MB in all, while someone looks",
        )
        row(
            f"{count} machines: publishing, per machine and minute",
            f"{found['published'] / 1000:.1f} kB",
            f"{found['silent']} silent. {found['dropped']}",
        )
