"""The CoTrain backend as the app uses it over HTTP."""

from typing import Any
from urllib.parse import quote

from app.backend.account import Account
from app.backend.http import Http
from app.backend.node import NodeData
from app.backend.replies import Counted, ProjectedReward, Said, SessionPage
from app.contributions.accounting import Contribution


class Backend:
    """Typed calls. Every one raises `BackendError`; those with an account need a sign-in."""

    def __init__(self, http: Http, *, account: Account) -> None:
        self._http = http
        self.account = account

    async def sessions(self, *, page: int, limit: int, search: str = "") -> SessionPage:
        """What can be trained: one page, counted from 1."""
        query: dict[str, Any] = {"page": page, "limit": limit}
        if search:
            query["search"] = search
        return await self._http.ask("GET /training", shape=SessionPage, query=query, reserved=False)

    async def register_node(self, node_id: str, node: NodeData) -> None:
        """Tell of this machine; again changes what was told."""
        body = {"nodeId": node_id, **node.document()}
        await self.account.call(
            lambda token: self._http.ask(
                "POST /hivemind/nodes/register", shape=Said, body=body, token=token
            )
        )

    async def submit(self, contribution: Contribution) -> None:
        """Report a contribution. It is counted each time: after `UncertainError`, read back."""
        await self.account.call(
            lambda token: self._http.ask(
                "POST /hivemind/contributions/submit",
                shape=Said,
                body=contribution.report(),
                token=token,
                once=True,
            )
        )

    async def read_back(self, node_id: str) -> list[Counted]:
        """Every contribution that the backend has counted for a node."""
        path = f"GET /hivemind/contributions/node/{quote(node_id, safe='')}"
        return await self.account.call(
            lambda token: self._http.ask(path, shape=list[Counted], token=token)
        )

    async def projected_reward(
        self, node_id: str, *, session_id: int, total: float
    ) -> ProjectedReward:
        """A node's part of a session's reward, were it ``total`` and paid out now."""
        path = f"GET /hivemind/rewards/projected/{quote(node_id, safe='')}/{session_id}"
        query = {"estimatedTotalReward": total}
        return await self.account.call(
            lambda token: self._http.ask(
                path, shape=ProjectedReward, query=query, token=token, reserved=False
            )
        )
