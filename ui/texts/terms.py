"""The volunteer's terms in words, and whether they let training run now.

In all functions, ``now`` is in seconds since the epoch.
"""

import time
from collections.abc import Iterator

from app.common.i18n import _
from app.state.state import ContributorState
from app.terms.schedule import DAYS, Schedule
from app.terms.terms import Terms, Verdict
from ui.texts import units


def day_names() -> tuple[str, ...]:
    """The days' short names, from Monday to Sunday."""
    return _("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun")


def status(terms: Terms, verdict: Verdict, now: float) -> str:
    """Whether the terms let training run now, and why."""
    if terms == Terms():
        return _("Nothing restricts training: it runs whenever you start it.")
    if verdict.allows:
        return why_it_runs(terms, verdict, now)
    return _("Your terms pause training now: {reasons}").format(reasons=reasons(verdict, now))


def why_it_runs(terms: Terms, verdict: Verdict, now: float) -> str:
    """The terms that are kept while training runs, and until when it may run."""
    text = _("Runs by your terms: {terms}.").format(terms=", ".join(clauses(terms)))
    if verdict.until is not None:
        text += " " + _("Rests from {time} on.").format(time=upcoming_time(verdict.until, now))
    return text


def why_it_rests(state: ContributorState, now: float) -> str:
    """Why training is paused, and when it goes on."""
    parts = []
    if state.paused_until is not None:
        left = units.duration(state.paused_until - now)
        parts.append(_("You paused training; it goes on in {time}.").format(time=left))
    elif state.paused_by_user or state.verdict.allows:
        parts.append(_("Not computing, but still in the swarm. Resume when you like."))
    if not state.verdict.allows:
        parts.append(reasons(state.verdict, now))
    return " ".join(parts)


def reasons(verdict: Verdict, now: float) -> str:
    """Everything that forbids training now, and when it may go on."""
    texts = [reason.text for reason in verdict.reasons]
    if any(reason.unmeasured for reason in verdict.reasons):
        texts.append(_("Until it can be, or you change the term, nothing is trained."))
    elif verdict.until is None:
        texts.append(_("Training goes on by itself."))
    else:
        when = upcoming_time(verdict.until, now)
        texts.append(_("Training goes on by itself, {time} at the earliest.").format(time=when))
    return " ".join(texts)


def unmeasured(verdict: Verdict) -> dict[str, str]:
    """What to say beside each term that this machine can't measure, by the name of its setting."""
    after = _("As long as that is so, this term keeps the machine from training at all.")
    found = (reason for reason in verdict.reasons if reason.unmeasured)
    return {f"terms.{reason.term}": f"{reason.text} {after}" for reason in found}


def upcoming_time(then: float, now: float) -> str:
    """A time in the future: ``18:00`` today, ``Mon 08:00`` within six days, else with its date."""
    local, today = time.localtime(then), time.localtime(now)
    clock = time.strftime("%H:%M", local)
    if local[:3] == today[:3]:
        return clock
    if then - now < 6 * 24 * 3600:
        return f"{day_names()[local.tm_wday]} {clock}"
    return units.date(then)


def clauses(terms: Terms) -> Iterator[str]:
    """A few words for each term that restricts something."""
    if terms.schedule:
        yield weekly(terms.schedule)
    if terms.idle_minutes:
        yield _("when idle for {minutes} min").format(minutes=terms.idle_minutes)
    if terms.mains_only:
        yield _("on mains power")
    if terms.unmetered_only:
        yield _("not on a metered connection")
    if terms.programs:
        yield _("not while {programs} runs").format(programs=" / ".join(terms.programs))
    if terms.max_others_use:
        yield _("while other programs use less than {percent} % of the GPU").format(
            percent=terms.max_others_use
        )
    if terms.max_temperature:
        yield _("below {limit} °C").format(limit=terms.max_temperature)
    yield from _amounts(terms)


def _amounts(terms: Terms) -> Iterator[str]:
    if terms.compute_share < 100:
        yield _("{percent} % of the time").format(percent=terms.compute_share)
    for limit, words in (
        (terms.max_power, _("up to {limit} W")),
        (terms.max_upload, _("up to {limit} Mbit/s up")),
        (terms.max_download, _("up to {limit} Mbit/s down")),
        (terms.max_monthly, _("up to {limit} GB a month")),
        (terms.max_disk, _("up to {limit} GB of disk")),
        (terms.max_memory, _("up to {limit} GB of memory")),
    ):
        if limit:
            yield words.format(limit=limit)


def weekly(schedule: Schedule) -> str:
    """A schedule as ``Mon–Fri 18:00–08:00, Sat–Sun 00:00–24:00``."""
    text = str(schedule).replace("-", "–")
    for key, name in zip(DAYS, day_names(), strict=True):
        text = text.replace(key, name)
    return text
