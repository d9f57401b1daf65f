"""What this machine achieved in a run, in words."""

from app.common.i18n import _
from app.common.plain import one_line
from app.curves.loss_change import LossChange

_LEAST = 1e-4
"""The smallest part of a run that is said with a figure."""


def sentences(run_share: float | None, loss: LossChange | None, *, title: str = "") -> str:
    """This machine's part of the run, and what became of the loss; "" where neither is known.

    title: the run's, where it isn't clear which one it is.
    """
    told = []
    if run_share:
        told.append(_("You did {part} of this run.").format(part=part(run_share)))
    if loss is not None:
        text = (
            _("The loss on unseen text while you were there: {change}.")
            if loss.unseen
            else _("The loss of training while you were there: {change}.")
        )
        told.append(text.format(change=change(loss)))
    text = " ".join(told)
    return _("{title}: {text}").format(title=one_line(title), text=text) if title and text else text


def part(share: float) -> str:
    """A part of a run, 0 to 1, with two digits: ``7.3 %``."""
    if share < _LEAST:
        return _("less than {part}").format(part=part(_LEAST))
    number = f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"
    return _("{number}\u00a0%").format(number=number)


def change(loss: LossChange) -> str:
    """The loss before and after: ``4.13 → 3.21``."""
    return _("{before} → {after}").format(before=f"{loss.before:.2f}", after=f"{loss.after:.2f}")
