"""The use cases of an account at the CoTrain backend, and what reports to it."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.errors import BusyError
from app.i18n import _
from app.paths import Folders
from app.reporting_state import ReportingState

if TYPE_CHECKING:
    from app.backend.account import Account
    from app.backend.client import Backend
    from app.backend.http import Http
    from app.backend.live import NodeData
    from app.backend.replies import ProjectedReward, SessionPage, TrainingSession
    from app.ledger import LedgerThread
    from app.reporter import Reporter


class Reporting:
    """From `open` to `close`. Nothing is sent anywhere before somebody signs in.

    url: the backend's. ledger: open. node: what the backend is told of this machine.
    on_change: told of each new state, on the loop. The calls raise `BackendError`.
    """

    def __init__(
        self,
        *,
        url: str,
        folders: Folders,
        ledger: "LedgerThread",
        node: "Callable[[], NodeData]",
        on_change: Callable[[ReportingState], None],
    ) -> None:
        self.state = ReportingState(backend_url=url, encrypted=is_private(url))
        self._folders = folders
        self._ledger = ledger
        self._node = node
        self._on_change = on_change
        self._http: Http | None = None
        self._account: Account | None = None
        self._backend: Backend | None = None
        self._reporter: Reporter | None = None

    async def open(self) -> None:
        """Take up an earlier sign-in and begin to report."""
        await asyncio.to_thread(_load_libraries)
        from app.backend.account import Account
        from app.backend.client import Backend
        from app.backend.http import Http
        from app.backend.secret_store import SecretStore
        from app.backend.ways import Ways
        from app.reporter import Reporter

        http = Http(self.state.backend_url)
        account = Account(http, store=SecretStore(self._folders.account_file))
        await account.restore()
        backend = Backend(http, account=account)
        self._http, self._account, self._backend = http, account, backend
        self._reporter = Reporter(
            self._ledger,
            backend=backend,
            ways=Ways(http, backend=backend, node=self._node),
            state=replace(self.state, signed_in_as=account.email),
            on_change=self._show,
        )
        self._reporter.start()

    async def close(self) -> None:
        """End the report under way and stop. May be called twice."""
        if self._reporter is not None:
            await self._reporter.close()
        if self._http is not None:
            await self._http.close()

    def _show(self, state: ReportingState) -> None:
        self.state = state
        self._on_change(state)

    # --- the account

    async def register(
        self, email: str, *, password: str, username: str = "", stay: bool = False
    ) -> None:
        """Make an account and sign in; see `sign_in`."""
        account, reporter = self._opened()
        await account.register(email, password=password, username=username, stay=stay)
        reporter.wake(impatient=True)

    async def sign_in(self, email: str, *, password: str, stay: bool = False) -> None:
        """Sign in, and report from now on.

        stay: keep the password, in the keyring if there is one: the backend's sign-in ends
        after a week, and a machine that nobody watches would stop reporting.
        """
        account, reporter = self._opened()
        await account.sign_in(email, password=password, stay=stay)
        reporter.wake(impatient=True)

    async def sign_out(self) -> None:
        """Forget the sign-in. Contributions are kept, and reported when somebody signs in."""
        account, reporter = self._opened()
        await account.sign_out()
        reporter.wake()

    # --- reports

    def wake(self) -> None:
        """A contribution has come into the ledger."""
        if self._reporter is not None:
            self._reporter.wake()

    def retry(self) -> None:
        """The user doesn't want to wait for what was put off."""
        self._opened()[1].wake(impatient=True)

    # --- what the backend tells

    async def sessions(self, *, page: int = 1, search: str = "") -> "SessionPage":
        """What can be trained: one page, counted from 1. Needs no sign-in."""
        return await self._asked().sessions(page=page, search=search)

    async def session(self, uuid: str) -> "TrainingSession":
        """One that can be trained. Needs no sign-in."""
        return await self._asked().session(uuid)

    async def projected_reward(
        self, node_id: str, *, session_id: int, total: float
    ) -> "ProjectedReward":
        """A node's part of a session's reward, were it ``total`` and paid out now."""
        return await self._asked().projected_reward(node_id, session_id=session_id, total=total)

    def _opened(self) -> "tuple[Account, Reporter]":
        if self._account is None or self._reporter is None:
            raise _not_ready()
        return self._account, self._reporter

    def _asked(self) -> "Backend":
        if self._backend is None:
            raise _not_ready()
        return self._backend


def _not_ready() -> BusyError:
    return BusyError(_("the app is still starting."), remedy=_("Try again in a moment."))


def _load_libraries() -> None:
    """Some hundred milliseconds, off the loop's thread."""
    import app.reporter  # noqa: F401


def is_private(url: str) -> bool:
    """Nobody on the way can read along: it is encrypted, or doesn't leave this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
