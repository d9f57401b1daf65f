"""The swarm's model in words: what it is, how good it is, who trains it, what it wrote."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.common.i18n import _, ngettext
from app.evaluation_messages import perplexity_of
from app.generation_messages import GenerationEnded
from app.state.facts import Evaluation
from app.state.state import ContributorState
from app.swarm.fleet import Machine
from ui.texts import costs, units
from ui.texts import specs as spec_texts

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

NAMES_SHOWN = 5
"""Machines that are named; the others are counted."""


# --- its weights on a machine that doesn't train


def what_can_be_fetched(state: ContributorState, kept: int | None) -> str:
    """What the button says; "" where nothing newer is known. kept: the epoch of what is here."""
    if kept is None:
        return _("Fetch the weights")
    epoch = state.run.epoch if state.run is not None else 0
    return _("Fetch epoch {epoch}").format(epoch=units.count(epoch)) if epoch > kept else ""


def what_was_fetched(epoch: int, *, from_door: bool) -> str:
    """Of which epoch the weights are, and from whom."""
    text = _("Fetched the weights of epoch {epoch} from a trainer.")
    if from_door:
        text = _("Nobody trains: took the snapshot of epoch {epoch} from the door.")
    return text.format(epoch=units.count(epoch))


# --- what it is


def fact_labels() -> dict[str, str]:
    """The rows about the model itself."""
    return {
        "type": _("Type"),
        "parameters": _("Parameters"),
        "text": _("Learns from"),
        "epochs": _("Epochs"),
        "seen": _("Text seen"),
    }


def facts(
    state: ContributorState, spec: "SwarmSpec | None", parameters: int | None
) -> dict[str, str]:
    """What the model is.

    spec: the swarm's; None if it isn't known. parameters: how many the model has, if it is known.
    """
    if state.swarm is None:
        return dict.fromkeys(fact_labels(), units.NONE)
    own = state.training.parameters if state.training is not None else None
    return {
        "type": spec_texts.model_name(state.swarm.model_type),
        "parameters": units.short(own or parameters),
        "text": costs.data_line(spec) if spec is not None else units.NONE,
        "epochs": units.count(state.run.epoch if state.run is not None else None),
        "seen": _seen(state, spec),
    }


def _seen(state: ContributorState, spec: "SwarmSpec | None") -> str:
    """Each epoch takes a target batch of samples, whose length the spec says."""
    if state.run is None or spec is None:
        return units.NONE
    training = spec.training
    tokens = state.run.epoch * training.target_batch_size * training.sequence_length
    return _("about {count} tokens").format(count=units.short(tokens))


def nothing_to_export() -> str:
    """Why the model page has nothing to export outside of a swarm."""
    return _(
        "Join a swarm first. Models that this machine has trained before: Swarm → Export the model."
    )


# --- how good it is


def quality_labels() -> dict[str, str]:
    """The rows about evaluations."""
    return {
        "loss": _("Loss"),
        "perplexity": _("Perplexity"),
        "bits": _("Bits per byte"),
        "swarm": _("Loss, the swarm's mean"),
        "best": _("Best so far"),
    }


def quality(state: ContributorState) -> dict[str, str]:
    """How well the swarm's weights predict text that nobody trains on."""
    swarm = state.run.held_out_loss if state.run is not None else None
    best = state.best_evaluation
    shared = {"swarm": units.loss(swarm), "best": units.NONE if best is None else _at_epoch(best)}
    newest = state.evaluation
    if newest is None:
        unknown = dict.fromkeys(("loss", "perplexity", "bits"), units.NONE)
        if swarm is not None:
            unknown["perplexity"] = units.rate(perplexity_of(swarm))
        return unknown | shared
    return {
        "loss": _at_epoch(newest),
        "perplexity": units.rate(newest.perplexity),
        "bits": units.loss(newest.bits_per_byte),
    } | shared


def _at_epoch(evaluation: Evaluation) -> str:
    return _("{value} (epoch {epoch})").format(
        value=units.loss(evaluation.loss), epoch=units.count(evaluation.epoch)
    )


def what_quality_means(state: ContributorState) -> str:
    """The newest evaluation in a sentence, or why there is none."""
    newest = state.evaluation
    if newest is None:
        return _(
            "Not evaluated here yet. Machines that train evaluate the model at the end of an epoch,"
            " on text that nobody trains on, unless the swarm's organiser has switched that off."
        )
    return _(
        "On text that nobody trains on, the model is as unsure of each next token as if it had to"
        " choose among {count} equally likely ones; fewer is better."
    ).format(count=units.rate(newest.perplexity))


# --- who trains it


def trainer_labels() -> dict[str, str]:
    """The rows about the machines that train the model."""
    return {
        "trainers": _("Trained by"),
        "machines": _("Machines"),
        "since": _("This machine since"),
        "kept": _("Weights kept here"),
    }


def trainers(
    state: ContributorState, machines: Sequence[Machine], began: float | None, kept: int | None
) -> dict[str, str]:
    """Who trains the model.

    machines: those of the swarm. began: when this machine's first contribution to the run began,
    in seconds since the epoch. kept: the epoch of the newest weights on this machine.
    """
    count = state.run.trainers if state.run is not None else None
    peers = ngettext("{count} peer", "{count} peers", count or 0)
    return {
        "trainers": units.NONE if count is None else peers.format(count=units.count(count)),
        "machines": _names(machines),
        "since": _("hasn't trained yet") if began is None else units.date(began),
        "kept": _("none") if kept is None else _("epoch {epoch}").format(epoch=units.count(kept)),
    }


def _names(machines: Sequence[Machine]) -> str:
    """Of the machines that train, by alias; what they call themselves is anybody's word."""
    training = [each for each in machines if each.trains]
    names = [each.record.alias or units.shortened(each.public_key) for each in training]
    shown, others = names[:NAMES_SHOWN], len(names) - NAMES_SHOWN
    if others > 0:
        more = ngettext("{count} other", "{count} others", others)
        shown.append(more.format(count=units.count(others)))
    return ", ".join(shown) or units.NONE


# --- what it writes


def temperatures() -> dict[str, str]:
    """The choices of temperature, by their value."""
    return {
        "0": _("0: always the likeliest"),
        "0.5": _("0.5: careful"),
        "0.8": _("0.8: usual"),
        "1": _("1: as it has learnt"),
        "1.5": _("1.5: wild"),
    }


def lengths() -> dict[str, str]:
    """The choices of length, by their value."""
    return {
        str(count): ngettext("{count} token", "{count} tokens", count).format(
            count=units.count(count)
        )
        for count in (50, 200, 500, 1000)
    }


def how_it_ended(ended: GenerationEnded, epoch: int | None) -> str:
    """How a text of one's own ended. epoch: that the weights are of; None if none was loaded."""
    if epoch is None:
        return _("Stopped.")
    count = ngettext("{count} token", "{count} tokens", ended.tokens)
    why = {
        "length": _("As long as you wanted"),
        "end": _("The model has ended its text"),
        "stopped": _("Stopped"),
    }[ended.reason]
    return _("{why}: {count} in {time}, with the weights of epoch {epoch}.").format(
        why=why,
        count=count.format(count=units.count(ended.tokens)),
        time=units.seconds(ended.seconds),
        epoch=units.count(epoch),
    )


def no_samples() -> str:
    """Why there are no samples yet."""
    return _(
        "No samples yet. While this machine trains, the model goes on from the same few prompts at"
        " each evaluation; what it writes then is kept here, so that you see it learn to write."
    )
