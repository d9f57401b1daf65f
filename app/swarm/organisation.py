"""The organiser of the swarm that we are in: whether we know them, and their roster.

The app is the only one on this machine that exchanges rosters with the swarm. It keeps the newest
one in a file, which the trainers and their averagers watch (`app.organiser.admission`), and stores
it in the DHT again before it expires there.
"""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from app.common.errors import OrganiserError, RosterError
from app.common.i18n import _
from app.common.paths import Folders, role_of
from app.organiser import roster as rosters
from app.organiser.admission import OPEN, Admission
from app.organiser.files import OrganiserFiles
from app.organiser.invites import shortened
from app.organiser.known import Acquaintance, KnownOrganisers, Standing
from app.p2p import calls
from app.state.events import AccessChanged
from app.state.facts import Access
from app.state.store import Store

if TYPE_CHECKING:
    from app.common.signing import MachineKey
    from app.organiser.members import Members
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""Between two looks for a newer roster in the DHT."""

BYTES_A_SECOND = 4096
"""Of rosters that a member reads: it looks for a large one less often."""

LIFE_SECONDS = 600.0
"""Of a roster in the DHT. Who sees that half of it is over stores the roster again."""


class Organisation:
    """Of the swarm that we are in, between `enter` and the next one; and what an organiser does."""

    def __init__(self, store: Store, *, folders: Folders) -> None:
        self._store = store
        self._folders = folders
        self._files = OrganiserFiles(folders.data)
        self._known = KnownOrganisers(self._files.known)
        self._admission = OPEN
        self._run_id = ""
        self._organised_here = False
        self._codes: dict[str, str] = {}
        self._look_at = 0.0
        self._stored = 0

    # --- whom we trust

    async def judge(self, spec: "SwarmSpec") -> Acquaintance:
        """What we know of the organiser who signed a spec."""
        return await asyncio.to_thread(self._known.judge, spec.run_id, spec.organiser)

    async def trust(self, spec: "SwarmSpec") -> None:
        """The user knows that the organiser of a spec is the right one, whoever signed before."""
        await asyncio.to_thread(self._known.remember, spec.run_id, spec.organiser)

    # --- in a swarm

    async def enter(self, spec: "SwarmSpec | None") -> Admission:
        """Before our node enters: who may take part in the run.

        Raises `OrganiserError` when another organiser than before has signed the spec.
        """
        self._admission, self._run_id, self._stored = OPEN, "", 0
        if spec is None:
            return OPEN
        judged = await self.judge(spec)
        if judged.standing is Standing.CHANGED:
            raise changed(spec, judged)
        if judged.standing is Standing.NEW:
            await self.trust(spec)
        from app.spec.admission import admission_to

        self._run_id = spec.run_id
        self._admission = admission_to(spec, self._files.roster(spec.run_id))
        if self._admission.is_closed:
            assert spec.organiser is not None
            own = await asyncio.to_thread(self._own_key)
            self._organised_here = own is not None and own.public_key == spec.organiser.key
            await self._tell()
        return self._admission

    @property
    def admission(self) -> Admission:
        """Who may take part in the run that we have entered."""
        return self._admission

    async def key_for(self, spec: "SwarmSpec") -> "MachineKey | None":
        """The key with which we organise a swarm; None where it has no organiser.

        Raises `OrganiserError` where its organiser is somebody else.
        """
        if spec.organiser is None:
            return None
        key = await asyncio.to_thread(self._own_key)
        if key is None or key.public_key != spec.organiser.key:
            raise OrganiserError(
                _("this machine doesn't have the organiser's key of this swarm."),
                field=str(self._files.key),
                remedy=_("Copy the file from the machine on which the invite was signed."),
            )
        return key

    async def look(self, node: Any) -> None:
        """Exchange rosters with the swarm, and tell whether we are a member.

        node: our `DHTNode`. Called every other second. Raises `CallError` and `OSError`.
        """
        if not self._admission.is_closed:
            return
        known, now = self._admission.roster, time.monotonic()
        if now >= self._look_at or known.serial != self._stored:
            self._look_at = now + max(LOOK_SECONDS, len(self._admission.sealed) / BYTES_A_SECOND)
            await self._exchange(node)
        await self._tell()

    async def _exchange(self, node: Any) -> None:
        key = rosters.dht_key(self._run_id)
        found = (await calls.read(node, [key]))[key]
        entries = found if isinstance(found, dict) else {}
        newest = max(entries, default=0)  # our node has checked that each is what its key says
        if newest > self._admission.roster.serial:
            await asyncio.to_thread(self._admission.keep, entries[newest].value)
        ours = self._admission.roster.serial
        lives_until = entries[ours].expiration_time if ours in entries else 0.0
        is_there = lives_until > time.time() + LIFE_SECONDS / 2
        if ours and not is_there:
            sealed = self._admission.sealed
            if not await calls.store(node, key, subkey=ours, value=sealed, seconds=LIFE_SECONDS):
                log.warning("nobody took roster %d", ours)
                return
            log.info("stored roster %d in the swarm", ours)
        self._stored = ours

    async def _tell(self) -> None:
        codes = await self._own_codes()
        access = Access(
            closed=True,
            admitted=all(map(self._admission.may_join, codes)),
            code=" ".join(codes),
            organised_here=self._organised_here,
            members=self._admission.roster.members,
        )
        if access != self._store.state.access:
            self._store.dispatch(AccessChanged(access=access))

    async def _own_codes(self) -> tuple[str, ...]:
        """The peer ids of the trainers on the chosen devices."""
        places = range(len(self._store.state.chosen_devices))
        for role in map(role_of, places):
            if role not in self._codes:
                self._codes[role] = await asyncio.to_thread(self._peer_id_of, role)
        return tuple(self._codes[role_of(place)] for place in places)

    def _peer_id_of(self, role: str) -> str:
        from app.p2p.run_records import load_identity

        return load_identity(self._folders.identity_file(role)).peer_id

    # --- what an organiser does

    def _own_key(self) -> "MachineKey | None":
        """The key with which we organise; None before we organised anything."""
        from app.common.signing import MachineKey

        file = self._files.key
        return MachineKey.load_or_create(file) if file.exists() else None

    async def organise(self, spec: "SwarmSpec", *, name: str, closed: bool) -> "SwarmSpec":
        """Sign a spec, with a new key if we never organised. In a closed swarm, our own trainers
        are its first members.

        Raises `SpecError`, `MachineKeyError` or `RosterError`.
        """
        codes = await self._own_codes() if closed else ()
        return await asyncio.to_thread(self._organise, spec, name, closed, codes)

    def _organise(
        self, spec: "SwarmSpec", name: str, closed: bool, codes: tuple[str, ...]
    ) -> "SwarmSpec":
        from app.common.signing import MachineKey
        from app.spec.signing import signed

        key = MachineKey.load_or_create(self._files.key)
        made = signed(spec, key, name=name, closed=closed)
        if closed:
            self._members_of(made.run_id, key).add(" ".join(codes), name)
        self._known.remember(made.run_id, made.organiser)
        return made

    def _members_of(self, run_id: str, key: "MachineKey") -> "Members":
        from app.organiser.members import Members

        return Members(key, run_id=run_id, file=self._files.roster(run_id))

    async def add(self, code: str, label: str) -> None:
        """Let peers take part in our closed swarm. Raises `RosterError`."""
        await asyncio.to_thread(lambda: self._own_members().add(code, label))
        await self._tell()

    async def remove(self, code: str) -> None:
        """Let peers take part no more. Raises `RosterError`."""
        await asyncio.to_thread(lambda: self._own_members().remove(code))
        await self._tell()

    def _own_members(self) -> "Members":
        key = self._own_key()
        if key is None or not self._organised_here:
            raise RosterError(
                _("this machine doesn't have the organiser's key of this swarm."),
                remedy=_("Ask the organiser to change the list of members."),
            )
        return self._members_of(self._run_id, key)


def vouched(spec: "SwarmSpec", judged: Acquaintance) -> str:
    """Who signed a spec, and whether we know them, as a sentence."""
    if spec.organiser is None:
        if judged.standing is Standing.CHANGED:
            return _("This invite is not signed, but an earlier one of this swarm was.")
        return _("This invite is not signed: anybody can have made it.")
    texts = {
        Standing.NEW: _("Signed by {name} (key {key}), who is new to this machine."),
        Standing.KNOWN: _("Signed by {name} (key {key}), who is known to this machine."),
        Standing.CHANGED: _(
            "Signed by {name} with the key {key}, but before it was another key: {before}."
        ),
    }
    said = texts[judged.standing].format(
        name=spec.organiser.name,
        key=shortened(spec.organiser.key),
        before=shortened(judged.remembered),
    )
    closed = _("The swarm is closed: only members whom its organiser adds take part.")
    return f"{said} {closed}" if spec.organiser.closed else said


def changed(spec: "SwarmSpec", judged: Acquaintance) -> OrganiserError:
    """The error for an invite that another organiser than before has signed, or nobody."""
    if spec.organiser is None:
        return OrganiserError(
            _("this swarm's invite was signed before ({before}), and now it isn't.").format(
                before=shortened(judged.remembered)
            ),
            field="organiser",
            remedy=_(
                "Ask the organiser for the invite again. If you are sure, look at it in the join"
                " dialog, or give --accept-organiser none."
            ),
        )
    return OrganiserError(
        _("another key ({now}) than before ({before}) signs as {name}.").format(
            now=shortened(spec.organiser.key),
            before=shortened(judged.remembered),
            name=spec.organiser.name,
        ),
        field="organiser",
        remedy=_(
            "Ask the organiser whether the key is theirs. If it is, look at the invite in the join"
            " dialog, or give --accept-organiser {key}."
        ).format(key=spec.organiser.key),
    )
