"""The service as tools of the Model Context Protocol: each uses the API, and returns nothing that the API would not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx
from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError

ANSWERS_WITHIN_S: Final = 60.0
MOST_FOUND: Final = 40
"""Most features of one search, so that its answer fits a conversation."""

_PURPOSE: Final = """\
A feature store for market data. A value that is not known is missing with a reason, never 0. Times are UTC, ISO 8601.
Find features by search_features before asking for their values."""


class Api:
    """The routes of a running service. Raises ToolError with what it says, or that it does not answer."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str, **asked: str | int | None) -> Any:  # noqa: ANN401  # any JSON
        given = {name.rstrip("_"): value for name, value in asked.items() if value is not None}
        return await self._answer("GET", path, params=given)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON
        return await self._answer("POST", path, json=dict(body))

    async def _answer(self, method: str, path: str, **given: Any) -> Any:  # noqa: ANN401  # any JSON
        try:
            answer = await self._client.request(method, path, **given)
        except httpx.TransportError as error:
            raise ToolError(f"{self._client.base_url}: no response, {error!r}") from error
        if answer.is_success:
            return answer.json()
        try:
            said = answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            said = answer.text[:500]
        raise ToolError(f"{path}: {answer.status_code}, {said}")


class Tools(FastMCP):
    """Tools that refuse an argument they do not have: FastMCP ignores it, and answers another question."""

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401  # as FastMCP declares it
        """Raises ToolError for an unknown argument, with the names of the known ones."""
        for tool in await self.list_tools():
            known = tool.inputSchema["properties"]
            unknown = [each for each in arguments if each not in known]
            if tool.name == name and unknown:
                raise ToolError(f"{name}: arguments must be among {', '.join(known)}, was {', '.join(unknown)}")
        return await super().call_tool(name, arguments)


def agent_server(client: httpx.AsyncClient, *, may_build: bool) -> FastMCP:
    """The server of the tools. may_build: it has a tool that starts builds; without it nothing is changed."""
    server = Tools("feature-service", instructions=_PURPOSE, log_level="WARNING")
    api = Api(client)
    _add_features(server, api)
    _add_datasets(server, api)
    if may_build:
        _add_builds(server, api)
    return server


def _add_features(server: FastMCP, api: Api) -> None:
    @server.tool()
    async def search_features(words: str = "", group: str | None = None) -> dict[str, Any]:
        """Features whose name, group, meaning or formula has every word; each with unit, range, horizon, formula."""
        wanted = words.lower().split()
        found = [
            each
            for each in await api.get("/features/list")
            if (group is None or each["group"] == group) and all(word in _described(each) for word in wanted)
        ]
        return {"found": len(found), "features": found[:MOST_FOUND]}

    @server.tool()
    async def latest_vector(symbol: str, features: list[str] | None = None) -> dict[str, Any]:
        """The newest vector of a symbol: values, why others are missing, age and status. features: names; else all."""
        return dict(
            await api.get("/features/latest", symbol=symbol, features=None if features is None else ",".join(features))
        )

    @server.tool()
    async def history_summary(symbol: str, start: str, end: str, features: list[str]) -> dict[str, Any]:
        """Of each feature in [start, end): rows, known values, first, last, least, greatest and mean value."""
        found = await api.get("/features/history", symbol=symbol, from_=start, to=end, features=",".join(features))
        rows = len(found["timestamps"])
        return {
            "symbol": symbol,
            "feature_registry_version": found["feature_registry_version"],
            "rows": rows,
            "first": found["timestamps"][0] if rows else None,
            "last": found["timestamps"][-1] if rows else None,
            "features": {name: _summary(values) for name, values in found["features"].items()},
        }

    @server.tool()
    async def quality_report(symbol: str, start: str, end: str) -> dict[str, Any]:
        """What is missing, doubled, late or far from the rest in a symbol's data, and what to do; at most 31 days."""
        return dict(await api.get("/data-quality/report", symbol=symbol, from_=start, to=end))


def _described(feature: Mapping[str, Any]) -> str:
    return " ".join(str(feature[part]) for part in ("name", "group", "summary", "formula")).lower()


def _summary(values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    if not known:
        return {"known": 0}
    return {
        "known": len(known),
        "first": known[0],
        "last": known[-1],
        "least": min(known),
        "greatest": max(known),
        "mean": sum(known) / len(known),
    }


def _add_datasets(server: FastMCP, api: Api) -> None:
    @server.tool()
    async def list_datasets(status: str | None = None, symbol: str | None = None, limit: int = 20) -> list[Any]:
        """The newest training sets, newest first. status: building, ready, failed or cancelled."""
        return list(await api.get("/dataset/list", status=status, symbol=symbol, limit=limit))

    @server.tool()
    async def dataset_lineage(dataset_id: str) -> dict[str, Any]:
        """What a ready training set was made of: code, libraries, and every raw and feature file with its hash."""
        return dict(await api.get(f"/dataset/{dataset_id}/lineage"))


def _add_builds(server: FastMCP, api: Api) -> None:
    @server.tool()
    async def build_dataset(
        symbol: str, periods: dict[str, str], horizon: str, registry_version: str | None = None
    ) -> dict[str, Any]:
        """Start building a training set of returns ``horizon`` ahead (60s, 5m); list_datasets shows when it is ready.

        periods: train_period_start, train_period_end, and the same of validation and test; each is [start, end).
        """
        target = {"type": "regression", "horizon": horizon}
        asked: dict[str, Any] = {"symbol": symbol, **periods, "target_config": target}
        if registry_version is not None:
            asked["feature_registry_version"] = registry_version
        return dict(await api.post("/dataset/build", asked))
