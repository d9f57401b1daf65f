"""The values that the state is made of."""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum

from app.common.i18n import _
from app.evaluation_messages import perplexity_of
from app.organiser.roster import Member
from app.p2p.sightings import PartFault
from app.spec.about import AboutSpec

DEMO_RUNS = "demo-" + "[0-9a-f]" * 8
"""The pattern of the run ids of demos: swarms on this machine alone, which count for nobody."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something to show to the user until it is solved; fields as in `UserFacingError`."""

    message: str
    field: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Swarm:
    """The swarm that we are in or about to join, taken from its spec."""

    run_id: str
    title: str
    model_type: str
    dataset: str
    target_batch_size: int
    """Samples of an epoch, of all peers together."""
    own_steps: bool = False
    """Machines take steps of their own, and exchange what they learnt beside computing."""
    session_id: int | None = None
    """The backend's number of the session; None where the backend doesn't offer the swarm."""
    training_id: str | None = None
    """The backend's id of the training; None where the backend doesn't offer the swarm."""
    returns: bool = False
    """The app comes back to it by itself at its next start."""
    about: AboutSpec | None = None
    """What it is for, in its organiser's words; None where the spec doesn't say."""
    identity: str = ""
    """Of `app.takeout.identity`: other swarms may have the same run id."""


@dataclass(frozen=True, kw_only=True)
class Returning:
    """The app goes back to the swarm that it was in before it ended."""

    title: str
    retry_at: float | None = None
    """When it tries to join again, in seconds since the epoch; None while it tries."""
    reason: str = ""
    """Why the last attempt failed."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Whether this machine may train in the swarm that we are in."""

    closed: bool = False
    """Only members on the organiser's roster may."""
    admitted: bool = True
    """All of our trainers may; always True in an open swarm."""
    code: str = ""
    """The peer ids of our trainers, to be sent to the organiser; empty in an open swarm."""
    organised_here: bool = False
    """This machine has the organiser's key, and may add and remove members."""
    members: tuple[Member, ...] = ()
    """Of a closed swarm."""


@dataclass(frozen=True, kw_only=True)
class DoorSnapshot:
    """The run's state that this machine, as a door, keeps for who joins when nobody trains."""

    epoch: int | None = None
    """That it is of; None until there is one."""
    size: int = 0
    """Bytes."""
    problem: str = ""
    """Why there is no newer one; "" otherwise."""


@dataclass(frozen=True, kw_only=True)
class TrainerPart:
    """One of our trainers."""

    device: str
    peer_id: str = ""
    """Empty until the trainer is ready."""
    device_name: str = ""
    """Empty until the trainer is ready."""
    micro_batch_size: int | None = None
    samples_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class MemberFault:
    """What another member did in our averaging rounds, once or more often."""

    peer_id: str
    fault: PartFault
    count: int
    """In how many rounds."""
    epoch: int
    """Of the last one."""
    time: float
    """When it was seen last, in seconds since the epoch."""
    evicted_until: float | None = None
    """Until when the member shares no group with us, in seconds since the epoch; None: it may."""

    def is_evicted(self, now: float) -> bool:
        """Whether the member shares no group with us at ``now``, in seconds since the epoch."""
        return self.evicted_until is not None and self.evicted_until > now


@dataclass(frozen=True, kw_only=True)
class MemberFaults:
    """What was wrong with the other members of our averaging rounds."""

    last: tuple[MemberFault, ...] = ()
    """One for each pair of peer and fault, the one seen last at the end."""
    totals: tuple[tuple[PartFault, int], ...] = tuple((fault, 0) for fault in PartFault)
    """How often each fault was seen since we are in the swarm."""

    def of(self, peer_id: str) -> tuple[MemberFault, ...]:
        """Those of one peer."""
        return tuple(each for each in self.last if each.peer_id == peer_id)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the swarm's weights made of text that no trainer trains on."""

    epoch: int
    """That the weights are of."""
    loss: float
    """Mean cross-entropy per token, in nats."""
    bits_per_byte: float
    """The same for each byte of the text, in bits, so that tokenizers compare."""
    time: float
    """When it ended, in seconds since the epoch."""
    tokens: int = 0
    """How many were predicted: two evaluations of different numbers are of different texts."""

    @property
    def perplexity(self) -> float:
        """See `perplexity_of`."""
        return perplexity_of(self.loss)

    def beats(self, other: "Evaluation | None") -> bool:
        """Whether it has the lower loss, or nothing to be compared with: another text is none."""
        return other is None or other.tokens != self.tokens or self.loss < other.loss

    def as_json(self) -> dict[str, float | None]:
        """For programs; an infinite perplexity is null."""
        perplexity = self.perplexity if math.isfinite(self.perplexity) else None
        return asdict(self) | {"perplexity": perplexity}


@dataclass(frozen=True, kw_only=True)
class GeneratedSample:
    """What the swarm's weights wrote after one of the run's prompts."""

    epoch: int
    """That the weights are of."""
    prompt: str
    text: str
    """What follows the prompt, without it."""
    time: float
    """When it was written, in seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class RunEvaluations:
    """What is known of how well a run's weights read and write."""

    newest: Evaluation | None = None
    best: Evaluation | None = None
    """The one with the lowest loss."""
    samples: tuple[GeneratedSample, ...] = ()
    """Of the newest evaluated epochs, the newest last."""


@dataclass(frozen=True, kw_only=True)
class LocalApi:
    """Where the local API is served."""

    url: str
    port: int
    wanted_port: int
    """The configured port; differs from ``port`` when another program holds it."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A version of the app that is later than this one."""

    version: str
    url: str
    """Of the page to get it from."""


@dataclass(frozen=True, kw_only=True)
class LabDeed:
    """A command of the lab's admin to this machine, and what became of it."""

    command: str
    """As on the command line, such as ``pause 30 min``."""
    lab: str
    """The lab's public key, shortened."""
    verdict: str
    """``done``, ``refused`` or ``failed``."""
    text: str
    """More of it, or why not."""
    number: int
    """Of the command."""

    @property
    def in_words(self) -> str:
        """For the machine's user, on one line."""
        words = {"done": _("done"), "refused": _("refused"), "failed": _("failed")}
        said = _("{command} (lab key {lab}): {verdict}.").format(
            command=self.command, lab=self.lab, verdict=words.get(self.verdict, self.verdict)
        )
        return f"{said} {self.text}".rstrip()


class ReportingStatus(StrEnum):
    """How reporting contributions to the backend goes."""

    OFF = "off"  # nobody is signed in; contributions are kept
    ON = "on"
    WAITING = "waiting"  # the backend allows no more for now, or an answer was lost
    FAILING = "failing"


@dataclass(frozen=True, kw_only=True)
class ReportingState:
    """The account at the backend, and how reporting to it goes."""

    backend_url: str = ""
    encrypted: bool = True
    """Nobody on the way to the backend can read what is sent."""
    plain_http: bool = False
    """Passwords and sign-ins are sent although it isn't encrypted; the user has set so."""
    signed_in_as: str = ""
    """An e-mail address; empty when nobody is signed in."""
    status: ReportingStatus = ReportingStatus.OFF
    since: float | None = None
    """When the status began, in seconds since the epoch."""
    next_try: float | None = None
    """When sending is tried again, in seconds since the epoch."""
    reason: str = ""
    """Why it waits or fails, for the user."""
    remedy: str = ""
    """What the user can do about it."""
    way: str = ""
    """The transport of the last report, ``http`` or ``socket.io``; empty before the first one."""
    kept: tuple[tuple[tuple[str, int | None], str], ...] = ()
    """Runs and their sessions that the backend doesn't list, so that contributions to them are kept
    here, each with the reason."""
    forgotten: int = 0
    """Contributions that the backend had confirmed and no longer knows."""
    refused: int = 0
    """Contributions that the backend has refused in the last week."""
