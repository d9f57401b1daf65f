"""What a strategy asks of a line: bytes, seconds, and the part of the time left for computing.

All of it follows from a spec, the model's parameters, the number of peers, and how fast lines and
devices are; every peer is taken to have such a line and such a device. Lines are counted by their
uploads, which at homes are the slow direction. Sizes are in bytes, times in seconds, lines in
bytes/s, devices in FLOP/s.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from app.common.i18n import _, ngettext
from app.spec.costs.rounds import round_seconds
from app.spec.schema import SwarmSpec
from app.spec.training import MOST_LOCAL, MOST_SAMPLES, TrainingSpec

HOME_LINE = 20.0
"""Mbit/s of upload that a line is taken to have while nothing is known of it."""

CPU_SPEED, GPU_SPEED = 5e10, 2.5e13
"""FLOP/s in training of a laptop's CPU and of a consumer GPU, below their nominal figures."""

WORK = 6.0
"""Operations for a parameter and token, forward and backward."""

DENSE_BITS = {4: 3.7, 8: 7.85, 16: 16.1}
"""Of a value that is normally distributed, after Huffman's code; values with longer tails take up
to a tenth less (`app.trainer.local_steps.dense`)."""

BLOCK = 4096
"""Values of which `SparseLocoSpec.keep` are sent."""

APPLYING = 5e-9
"""Seconds a parameter for which an exchange stops a machine's own steps: its weights are copied,
and moved along with the swarm's. Measured on one thread of an EPYC: 1.5e-9 to 3e-9; a GPU's weights
have to come and go as well."""

HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class SwarmOnLines:
    """A swarm of machines that are all alike."""

    parameters: int
    """Those that are trained."""

    whole: int | None = None
    """All of the model's, if there are others."""

    peers: int

    line: float
    """Bytes/s of each line."""

    speed: float
    """FLOP/s of each device."""

    @property
    def computed(self) -> int:
        """The parameters that each sample goes through."""
        return self.whole or self.parameters


@dataclass(frozen=True, kw_only=True)
class RoundUpload:
    """What one peer sends in a round."""

    usual: int
    """With peers that all have such a line; the mean over the peers, in any case."""

    least: int
    """Of a peer whose line is far slower than the others'."""

    most: int
    """Of the only peer with a fast line that others can call."""


@dataclass(frozen=True, kw_only=True)
class LineForecast:
    """How a swarm of such peers would do."""

    upload: RoundUpload
    """Of an epoch, which ends with a round."""

    round_seconds: float

    epoch_seconds: float

    computing: float
    """The part of the time in which a machine computes, 0 to 1."""

    ends_in_time: bool
    """The round is over before its time-out."""

    own_steps: float | None
    """Inner steps of one machine in an epoch; None in gradient averaging."""

    @property
    def an_hour(self) -> int:
        """Bytes that one peer sends in an hour."""
        return round(self.upload.usual * HOUR / self.epoch_seconds)


def update_bytes(training: TrainingSpec, *, parameters: int) -> int:
    """What one peer has to tell in a round: its gradient, or what it learnt in steps of its own."""
    if training.diloco is not None:
        bits = DENSE_BITS[training.diloco.bits]
    elif training.sparseloco is not None:
        bits = _sparse_bits(training.sparseloco.keep)
    else:
        bits = 16 if training.averaging.compression == "float16" else 32
    return round(bits / 8 * parameters)


def _sparse_bits(keep: int) -> float:
    """Of a value, sent or not: two for each that is sent, and places in Elias–Fano code."""
    low = (BLOCK // keep).bit_length() - 1
    row = keep + (BLOCK - 1 >> low)
    return (keep * (low + 2) + row) / BLOCK


def round_upload(training: TrainingSpec, *, parameters: int, peers: int) -> RoundUpload:
    """What one peer sends in an epoch of so many peers.

    In gradient averaging each peer averages a part of the gradient: it sends the others their
    parts, and the averages of its own part. The weights are averaged so as well. Where a single
    peer can be called, that one averages everything.

    With steps of its own, each peer needs the blobs of all others, so that on average one sends
    as many copies as there are others. Its own blob leaves a peer once at least, to the leader. A
    peer that alone has a fast line passes all blobs on to all.
    """
    update, others = update_bytes(training, parameters=parameters), peers - 1
    if not others:
        return RoundUpload(usual=0, least=0, most=0)
    if training.local_steps is not None:
        return RoundUpload(usual=others * update, least=update, most=others * others * update)
    usual = round(2 * 2 * others / peers * update)
    return RoundUpload(usual=usual, least=usual, most=2 * others * update)


def forecast(spec: SwarmSpec, swarm: SwarmOnLines) -> LineForecast:
    """How such a swarm would do."""
    training, parameters, peers, line = spec.training, swarm.parameters, swarm.peers, swarm.line
    upload = round_upload(training, parameters=parameters, peers=peers)
    tokens = training.target_batch_size * training.sequence_length
    work = WORK * swarm.computed * tokens / (peers * swarm.speed)
    work = max(work, training.averaging.matchmaking_seconds)
    if training.local_steps is None:
        # The gradient's half stops computing. The weights' goes on beside it, and may still be on
        # its way when the next gradient wants the line.
        a_round = upload.usual / 2 / line
        epoch = max(work + a_round, 2 * a_round)
        computing, own_steps = work / epoch, None
    else:
        a_round = _exchange_seconds(training, parameters=parameters, peers=peers, line=line)
        epoch = max(work, a_round)  # rounds run beside computing, one after the other
        computing = epoch / (epoch + APPLYING * parameters)
        epoch += APPLYING * parameters
        batch = training.local_steps.local_batch_size
        own_steps = training.target_batch_size / (peers * batch) * (epoch / work)
    limit = round_seconds(spec, parameters=parameters)
    return LineForecast(
        upload=upload,
        round_seconds=a_round,
        epoch_seconds=epoch,
        computing=min(1.0, computing),
        ends_in_time=a_round <= limit,
        own_steps=own_steps,
    )


def _exchange_seconds(training: TrainingSpec, *, parameters: int, peers: int, line: float) -> float:
    """The leader takes all blobs first; after that, all lines carry what is missing where."""
    others = peers - 1
    if not others:
        return 0.0
    copies = max(1.0, others * others / peers)  # the leader's own leaves it once at least
    return (1.0 + copies) * update_bytes(training, parameters=parameters) / line


# --- which strategy

ENOUGH = 0.9
"""Gradient averaging is recommended where it computes this part of the time: nothing learns more
surely from the same samples, and it has no settings of its own."""

LINE_SHARE, MOST_OF_THE_LINE = 0.25, 0.8
"""The part of the time that exchanges should take of a line, and the most that they may."""

DENSE_STEPS = (15, 100)
"""Inner steps between two exchanges, least and most: with fewer it isn't worth its bytes, with more
the machines come too far apart."""

LEAST_ROUNDS = 30
"""A run of fewer exchanges was never measured."""

SPARSE_STEPS = (10, 30)
"""Inner steps between two sparse exchanges, least and most."""

TURNS = 2.0
"""How often each weight should be among those that are sent, in a whole run. Sparse updates that
did not get there lost several per cent."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """A strategy for a model, a line and a length of the run."""

    spec: SwarmSpec
    """The one that was asked about, with this strategy and its settings."""

    forecast: LineForecast

    why: str
    """Sentences for the user."""


def recommend(spec: SwarmSpec, swarm: SwarmOnLines) -> Recommendation:
    """The strategy with the least loss that the lines carry.

    An optimizer step keeps its samples: the epoch of gradient averaging is a step of all machines
    with the other strategies, whose epochs have as many samples as several steps.
    """
    peers = swarm.peers

    def made(one: SwarmSpec, why: str) -> Recommendation:
        return Recommendation(spec=one, forecast=forecast(one, swarm), why=why)

    averaging = made(_averaging(spec, peers=peers), "")
    share = _percent(averaging.forecast.computing)
    if peers == 1 or averaging.forecast.computing >= ENOUGH:
        why = _("Averaging each gradient computes {percent} of the time on such a line.")
        return replace(averaging, why=why.format(percent=share))
    why = _("Averaging each gradient would compute only {percent} of the time on such a line.")
    why = why.format(percent=share)
    plain, step = averaging.spec, _step_seconds(averaging.spec, swarm)
    length = _steps_of_the_run(plain, step)
    dense = made(_dense(plain, DENSE_STEPS[1], peers=peers), why)
    needed = dense.forecast.round_seconds / step
    most = int(max(DENSE_STEPS[0], min(DENSE_STEPS[1], length / LEAST_ROUNDS)))
    if dense.forecast.ends_in_time and needed <= MOST_OF_THE_LINE * most:
        steps = min(most, max(DENSE_STEPS[0], math.ceil(needed / LINE_SHARE)))
        return made(_dense(plain, steps, peers=peers), f"{why} {_why_dense(steps)}")
    keep, steps = _keep_and_steps(length)
    sparse = made(_sparse(plain, steps, keep=keep, peers=peers), "")
    needed = sparse.forecast.round_seconds / step / MOST_OF_THE_LINE
    steps = min(DENSE_STEPS[1], max(steps, math.ceil(needed)))
    why = f"{why} {_why_sparse(keep, steps, length)}"
    return made(_sparse(plain, steps, keep=keep, peers=peers), why)


def _step_seconds(plain: SwarmSpec, swarm: SwarmOnLines) -> float:
    """Of a step of all machines together."""
    tokens = plain.training.target_batch_size * plain.training.sequence_length
    return WORK * swarm.computed * tokens / (swarm.peers * swarm.speed)


def _steps_of_the_run(plain: SwarmSpec, step: float) -> float:
    """How many steps the run has; infinite where the spec doesn't say. step: in seconds."""
    stop, schedule = plain.training.stop, plain.training.schedule
    ends = [
        math.inf if stop.epochs is None else float(stop.epochs),
        math.inf if stop.minutes is None else stop.minutes * 60 / step,
        math.inf if schedule.total_epochs is None else float(schedule.total_epochs),
    ]
    return min(ends)


def _keep_and_steps(length: float) -> tuple[int, int]:
    """`SparseLocoSpec.keep` and the steps between two exchanges, for a run of so many steps.

    Rounds × keep / 4,096 is how often each weight has its turn. A short run gets there with smaller
    distances between exchanges; keeping more than 128 made the loss worse.
    """
    least, most = SPARSE_STEPS
    for keep in (64, 128):
        if length * keep / BLOCK / most >= TURNS:
            return keep, most
    return 128, max(least, int(length * 128 / BLOCK / TURNS))


# --- the same spec with another strategy


def _averaging(spec: SwarmSpec, *, peers: int) -> SwarmSpec:
    options = spec.training.local_steps
    batch = spec.training.target_batch_size
    if options is not None:
        batch = options.local_batch_size * peers
    return _changed(spec, {"strategy": "gradient-averaging"}, batch=batch)


def _dense(plain: SwarmSpec, steps: int, *, peers: int) -> SwarmSpec:
    options = {"local_batch_size": _local_batch(plain, peers)}
    return _with_own_steps(plain, "diloco", options, steps=steps, peers=peers)


def _sparse(plain: SwarmSpec, steps: int, *, keep: int, peers: int) -> SwarmSpec:
    options = {"local_batch_size": _local_batch(plain, peers), "keep": keep}
    return _with_own_steps(plain, "sparseloco", options, steps=steps, peers=peers)


def _local_batch(plain: SwarmSpec, peers: int) -> int:
    return min(MOST_LOCAL, max(1, round(plain.training.target_batch_size / peers)))


def _with_own_steps(
    plain: SwarmSpec, strategy: str, options: dict[str, int], *, steps: int, peers: int
) -> SwarmSpec:
    batch = steps * peers * options["local_batch_size"]
    return _changed(plain, {"strategy": strategy, strategy: options}, batch=batch)


def _changed(spec: SwarmSpec, strategy: dict[str, Any], *, batch: int) -> SwarmSpec:
    """Another strategy and target batch. What the spec counts in epochs keeps its samples."""
    old = spec.training

    def epochs(count: int | None, least: int = 1) -> int | None:
        if not count:
            return count
        return max(least, round(count * old.target_batch_size / batch))

    content = old.model_dump(exclude={"diloco", "sparseloco", "max_grad_norm"}) | strategy
    options = old.local_steps
    norm = old.max_grad_norm if options is None else options.max_grad_norm
    if norm is not None:
        (content.get(content["strategy"]) or content)["max_grad_norm"] = norm
    warmup = epochs(old.schedule.warmup_epochs) or 0
    content["schedule"] |= {
        "warmup_epochs": warmup,
        "total_epochs": epochs(old.schedule.total_epochs, warmup + 1),
    }
    content["stop"] |= {"epochs": epochs(old.stop.epochs)}
    content["target_batch_size"] = min(batch, MOST_SAMPLES)
    if isinstance(old.micro_batch_size, int) and old.micro_batch_size > batch:
        content["micro_batch_size"] = "auto"
    return spec.model_copy(update={"training": TrainingSpec.model_validate(content)})


# --- in words


def _percent(share: float) -> str:
    if share < 0.01:
        return _("less than 1\u00a0%")
    return _("{number}\u00a0%").format(number=f"{100 * share:.0f}")


def _why_dense(steps: int) -> str:
    return ngettext(
        "With {count} step of its own on each machine, exchanges run beside computing; 4 bits a"
        " value cost nothing that was measured.",
        "With {count} steps of its own on each machine, exchanges run beside computing; 4 bits a"
        " value cost nothing that was measured.",
        steps,
    ).format(count=steps)


def _why_sparse(keep: int, steps: int, length: float) -> str:
    text = _(
        "All values, even in 4 bits, are too many for it: {keep} of each 4,096 are sent, after"
        " {steps} steps of its own on each machine."
    ).format(keep=keep, steps=steps)
    if length * keep / BLOCK / steps < TURNS:
        more = _("The run is too short for every weight to have its turn: its loss will be higher.")
        return f"{text} {more}"
    if keep > 64 or steps < SPARSE_STEPS[1]:
        more = _("That often, since the run is short and every weight must have its turn.")
        return f"{text} {more}"
    return text
