"""What the evaluations say, in words."""

from app.common.i18n import _
from app.common.plain import one_line
from app.state.state import ContributorState
from ui.texts import units

MOST_SAMPLE = 160
"""Characters of a sample on one line."""


def reading(state: ContributorState) -> str:
    """How well the swarm's model reads text that it has never seen; "" before an evaluation."""
    newest, best = state.evaluation, state.best_evaluation
    if newest is None or best is None:
        return ""
    if newest.epoch == best.epoch:
        return _(
            "The model reads text it has never seen: {bits} bits per byte, the best so far, in"
            " epoch {epoch}."
        ).format(bits=bits(newest.bits_per_byte), epoch=units.count(newest.epoch))
    return _(
        "The model reads text it has never seen: {bits} bits per byte, best so far {best} in"
        " epoch {epoch}."
    ).format(
        bits=bits(newest.bits_per_byte),
        best=bits(best.bits_per_byte),
        epoch=units.count(best.epoch),
    )


def meaning(state: ContributorState) -> str:
    """What the figures of `reading` mean, for a tool tip; "" before an evaluation."""
    newest = state.evaluation
    if newest is None:
        return ""
    return _(
        "Fewer is better: 8 bits per byte is guessing, and good models of English need about 1."
        " The text is held out, so nobody trains on it. Loss {loss} per token, perplexity"
        " {perplexity}."
    ).format(loss=units.loss(newest.loss), perplexity=units.rate(newest.perplexity))


def writing(state: ContributorState) -> str:
    """The newest sample of what the model writes, on one line; "" before there is one."""
    if not state.samples:
        return ""
    epoch = state.samples[-1].epoch
    sample = next(each for each in state.samples if each.epoch == epoch)
    return _("After “{prompt}” it writes: {text}").format(
        prompt=one_line(sample.prompt), text=one_line(sample.text, most=MOST_SAMPLE)
    )


def bits(value: float) -> str:
    """Bits per byte: ``2.41``."""
    return f"{value:.2f}"
