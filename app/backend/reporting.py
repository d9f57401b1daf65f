"""The entrance to this package: the account, the delivery of reports, and what can be asked."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from app.backend.node import NodeData
from app.common.addresses import is_private
from app.common.errors import BusyError
from app.common.i18n import _
from app.common.paths import Folders
from app.common.subscription import Subscription
from app.contributions.accounting import Contribution
from app.contributions.ledger import Ledger
from app.contributions.recorder import Recorder
from app.p2p.network import best_first, with_peer_id
from app.settings.settings import Settings
from app.state.events import ReportingChanged
from app.state.facts import ReportingState
from app.state.state import ContributorState
from app.state.store import ReadableStore, Store

if TYPE_CHECKING:
    from app.backend.account import Account
    from app.backend.client import Backend
    from app.backend.delivery import Delivery
    from app.backend.http import Http
    from app.backend.replies import ProjectedReward, SessionPage


class Reporting:
    """Reports contributions from `open` to `close`, once somebody is signed in.

    contributions: open; the contributions in its ledger are reported. How reporting goes is shown
    in the state, as ``reporting``.

    The calls raise `BackendError`, or `BusyError` before `open` is done.
    """

    def __init__(self, store: Store, *, folders: Folders, contributions: Recorder) -> None:
        self._store = store
        self._folders = folders
        self._ledger = contributions.ledger
        self._node = OwnNode(store, contributions)
        self._http: Http | None = None
        self._account: Account | None = None
        self._backend: Backend | None = None
        self._delivery: Delivery | None = None
        self._waking = Subscription()

    async def open(self) -> None:
        """Use the sign-in that an earlier run has kept, and begin to report."""
        await asyncio.to_thread(_load_libraries)
        from app.backend.account import Account
        from app.backend.client import Backend
        from app.backend.delivery import Delivery
        from app.backend.http import Http
        from app.backend.secret_store import SecretStore
        from app.backend.ways import Ways

        state = self._store.state.reporting
        http = Http(state.backend_url, plain_http=state.plain_http)
        account = Account(http, store=SecretStore(self._folders.account_file))
        await account.restore()
        kept_for = await account.kept_for()
        await self._ledger.run(Ledger.adopt, kept_for or http.url)
        backend = Backend(http, account=account)
        self._http, self._account, self._backend = http, account, backend
        self._show(replace(state, signed_in_as=account.email))
        self._delivery = Delivery(
            self._ledger,
            backend=backend,
            ways=Ways(http, backend=backend, node=self._node),
            store=self._store,
            on_change=self._show,
        )
        self._delivery.start()
        self._waking = self._ledger.subscribe(self._delivery.wake)

    async def close(self) -> None:
        """Send what can be sent in a few seconds, and stop. May be called twice."""
        self._waking.close()
        if self._delivery is not None:
            await self._delivery.close()
        if self._http is not None:
            await self._http.close()

    def _show(self, state: ReportingState) -> None:
        self._store.dispatch(ReportingChanged(reporting=state))

    # --- the account

    async def look_for_backend(self) -> None:
        """Raises `UnreachableError` where nobody has set up a backend."""
        from app.backend.failures import check_default

        await check_default(self._store.state.reporting.backend_url)

    async def register(
        self, email: str, *, password: str, username: str = "", stay: bool = False
    ) -> None:
        """Create an account and sign in; see `sign_in`."""
        account, delivery = self._opened()
        await account.register(email, password=password, username=username, stay=stay)
        delivery.wake(impatient=True)

    async def sign_in(self, email: str, *, password: str, stay: bool = False) -> None:
        """Sign in, and report from now on.

        stay: keep the password, in the system's keyring if there is one. The backend's sign-in ends
        after a week, and without the password an unattended machine would stop reporting.
        """
        account, delivery = self._opened()
        await account.sign_in(email, password=password, stay=stay)
        delivery.wake(impatient=True)

    async def sign_out(self) -> None:
        """Forget the sign-in. Contributions are kept and reported after the next sign-in."""
        account, delivery = self._opened()
        await account.sign_out()
        delivery.wake()

    # --- reports

    async def retry(self) -> None:
        """Send now all that waits or was postponed or refused, because the user wants to."""
        await self._opened()[1].retry()

    async def refill(self) -> None:
        """Report again what the backend had confirmed and forgotten, because the user wants to."""
        await self._opened()[1].refill()

    # --- what the backend tells

    async def sessions(self, *, page: int, limit: int, search: str) -> "SessionPage":
        """One page of the sessions that can be trained. page: counted from 1. Needs no sign-in."""
        return await self._asked().sessions(page=page, limit=limit, search=search)

    async def projected_reward(self, node_id: str, *, session_id: int) -> "ProjectedReward":
        """A node's part of a session's reward, in percent, if it were paid out now."""
        return await self._asked().projected_reward(node_id, session_id=session_id, total=100)

    def _opened(self) -> "tuple[Account, Delivery]":
        if self._account is None or self._delivery is None:
            raise _not_ready()
        return self._account, self._delivery

    def _asked(self) -> "Backend":
        if self._backend is None:
            raise _not_ready()
        return self._backend


class OwnNode:
    """This machine's data for the backend, taken from the state and the current interval."""

    def __init__(self, store: ReadableStore, contributions: Recorder) -> None:
        self._store = store
        self._contributions = contributions

    def data(self) -> NodeData:
        """The data of this moment."""
        return node_of(
            self._store.state,
            current=self._contributions.current,
            public_key=self._contributions.public_key,
            announced=self._store.settings.announce,
        )


def reporting_at_start(settings: Settings) -> ReportingState:
    """The state of reporting before `Reporting.open`."""
    return ReportingState(
        backend_url=settings.backend_url,
        encrypted=is_private(settings.backend_url),
        plain_http=settings.backend_plain_http,
    )


def node_of(
    state: ContributorState,
    *,
    current: Contribution | None,
    public_key: str,
    announced: Iterable[str] = (),
) -> NodeData:
    """This machine's data for the backend: its address and its current speed.

    current: the contribution that the current interval would become now. announced: the setting
    ``announce``.
    """
    own, addresses = state.training, best_first(state.addresses, announced=announced)
    return NodeData(
        address=with_peer_id(next(iter(addresses), ""), state.peer_id),
        public_key=public_key,
        compute_capacity=(own.samples_per_second or 0.0) if own is not None else 0.0,
        bandwidth=_kilobytes_per_second(current),
    )


def _kilobytes_per_second(current: Contribution | None) -> float:
    if current is None or current.ended_at <= current.started_at:
        return 0.0
    return round(current.data_transmitted / (current.ended_at - current.started_at), 3)


def _not_ready() -> BusyError:
    return BusyError(_("the app is still starting."), remedy=_("Try again in a moment."))


def _load_libraries() -> None:
    """Import in a thread what takes some hundred milliseconds."""
    import app.backend.delivery  # noqa: F401
