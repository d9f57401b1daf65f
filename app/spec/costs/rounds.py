"""How many bytes a round of averaging moves, how long it may take, and which line that needs."""

from app.spec.schema import SwarmSpec

SLOWEST_LINE = 625_000
"""Bytes/s: an upload of 5 Mbit/s, the slowest that a swarm's automatic time-out waits for."""

LEAST_SECONDS = 60.0
"""The shortest automatic time-out."""

SPARE = 1.5
"""An automatic time-out is so many times what the slowest line needs: others share the line."""

CHUNK_SECONDS = 20.0
"""A member that sends nothing for so long is left out of the round. On a slow line to many members,
half a megabyte takes ten seconds."""


SCALE_BYTES = 2 / 64
"""Of a value: a bfloat16 scale for each block of 64."""

SPARSE_BYTES = 14 / 8
"""Of a value that is sent: its place in 12 bits, and its size in 2."""


def round_bytes(spec: SwarmSpec, *, parameters: int) -> int:
    """What a time-out counts on: the most that one peer with a slow line sends in a round.

    In gradient averaging: its own values to those who average them, and the averages that it makes.
    Else: what it learnt once, and as much again of others', which it passes on; peers with faster
    lines carry the rest. What a peer sends on average is in `app.spec.line`.
    """
    training = spec.training
    if training.diloco is not None:
        return round(2 * (training.diloco.bits / 8 + SCALE_BYTES) * parameters)
    if training.sparseloco is not None:
        return round(2 * SPARSE_BYTES * training.sparseloco.keep / 4096 * parameters)
    width = 2 if training.averaging.compression == "float16" else 4
    return 2 * width * parameters


def round_seconds(spec: SwarmSpec, *, parameters: int) -> float:
    """The longest that a round may take."""
    averaging = spec.training.averaging
    if averaging.timeout_seconds != "auto":
        return averaging.timeout_seconds
    needed = SPARE * round_bytes(spec, parameters=parameters) / SLOWEST_LINE
    return max(LEAST_SECONDS, 2 * averaging.matchmaking_seconds + needed)


def chunk_seconds(spec: SwarmSpec, *, parameters: int) -> float:
    """How long a member of a round may be silent."""
    patience = min(CHUNK_SECONDS, round_seconds(spec, parameters=parameters) / 3)
    return max(spec.training.averaging.matchmaking_seconds, patience)


def request_seconds(spec: SwarmSpec) -> float:
    """How long a peer waits for a leader's answer. Groups don't form if this is above the
    matchmaking time; hivemind only warns."""
    return min(3.0, spec.training.averaging.matchmaking_seconds / 2)


def slowest_line(spec: SwarmSpec, *, parameters: int) -> float:
    """Bytes/s that a line must carry, or the round is over before all has arrived."""
    averaging = spec.training.averaging
    available = round_seconds(spec, parameters=parameters) - averaging.matchmaking_seconds
    return round_bytes(spec, parameters=parameters) / available
