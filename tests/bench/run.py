"""`make bench`: measure what the README claims, each figure as a ratio in one run.

python tests/bench/run.py [startup] [stalls] [trainer] [machines] [devices] [callback] [network]
[evaluation] [curves]
"""

import sys

from parts.callback import callback
from parts.curves import curves
from parts.devices import devices
from parts.evaluation import evaluation
from parts.machines import machines
from parts.network import network
from parts.trainer import trainer
from parts.window import stalls, startup

PARTS = {
    "startup": startup,
    "stalls": stalls,
    "trainer": trainer,
    "machines": machines,
    "devices": devices,
    "callback": callback,
    "network": network,
    "evaluation": evaluation,
    "curves": curves,
}


def main() -> None:
    """Run the parts named on the command line, or all."""
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
