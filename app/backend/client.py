"""The calls of the CoTrain backend that the app makes over HTTP."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from app.backend.account import Account
from app.backend.http import Http
from app.backend.node import NodeData
from app.backend.replies import Counted, ProjectedReward, Said, SessionPage, TrainingSession
from app.contributions.accounting import Contribution


class Backend:
    """Typed calls. All raise `BackendError`; all but `sessions` and `session` need a sign-in."""

    def __init__(self, http: Http, *, account: Account) -> None:
        self._http = http
        self.account = account

    async def sessions(self, *, page: int, limit: int, search: str = "") -> SessionPage:
        """One page of the sessions that can be trained. page: counted from 1."""
        query: dict[str, Any] = {"page": page, "limit": limit}
        if search:
            query["search"] = search
        return await self._http.ask("GET /training", shape=SessionPage, query=query, reserved=False)

    async def session(self, training_id: str) -> TrainingSession:
        """One session, by its uuid."""
        path = f"GET /training/{quote(training_id, safe='')}"
        return await self._http.ask(path, shape=TrainingSession)

    async def register_node(self, node_id: str, node: NodeData) -> None:
        """Register this machine, or change what the backend knows of it."""
        body = {"nodeId": node_id, **node.document()}
        await self.account.call(
            lambda token: self._http.ask(
                "POST /hivemind/nodes/register", shape=Said, body=body, token=token
            )
        )

    async def submit(self, contribution: Contribution) -> None:
        """Report a contribution. The backend counts each call, so never just repeat it.

        After `UncertainError` it may have been counted: read back to find out. After any other
        error it was not.
        """
        await self.account.call(
            lambda token: self._http.ask(
                "POST /hivemind/contributions/submit",
                shape=Said,
                body=contribution.report(),
                token=token,
                once=True,
            )
        )

    async def read_back(
        self, node_id: str, *, take: Callable[[list[Counted]], None], reserved: bool = True
    ) -> None:
        """Get all contributions that the backend has counted for a node.

        take: see `Http.read_rows`. reserved: see `Budget.take`.
        """
        path = f"/hivemind/contributions/node/{quote(node_id, safe='')}"
        await self.account.call(
            lambda token: self._http.read_rows(path, token=token, take=take, reserved=reserved)
        )

    async def projected_reward(
        self, node_id: str, *, session_id: int, total: float
    ) -> ProjectedReward:
        """A node's part of a session's reward, if the reward were ``total`` and paid out now."""
        path = f"GET /hivemind/rewards/projected/{quote(node_id, safe='')}/{session_id}"
        query = {"estimatedTotalReward": total}
        return await self.account.call(
            lambda token: self._http.ask(
                path, shape=ProjectedReward, query=query, token=token, reserved=False
            )
        )
