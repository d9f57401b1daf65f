"""Sums and rates of the training loop."""

from app.trainer.meter import Meter


def test_a_wait_lowers_the_rate_but_not_the_sums() -> None:
    meter = Meter()
    meter.add_step(samples=4, tokens=128, seconds=1.0, computing=1.0)
    meter.add_wait(1.0)
    meter.add_wait(0.0)
    found = meter.read()
    assert (found.samples_per_second, found.compute_seconds, found.step) == (2.0, 1.0, 1)
