"""The tools of ``feature-service mcp``, driven over standard input and output by the protocol's own client."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from market.clock import SECOND_NS, format_iso
from tests.running_service import ROOT, Running, running_service

KEY = "agent-key"


@pytest.fixture(scope="module")
def running(kernel_cache: Path) -> Iterator[Running]:
    with running_service(kernel_cache, minutes=3, api_key=KEY) as found:
        yield found


def told(
    running: Running, *calls: tuple[str, dict[str, Any]], options: tuple[str, ...] = ()
) -> tuple[list[str], list[Any]]:
    """The names of the tools, and what each call answers; a refusal is its text."""

    async def converse() -> tuple[list[str], list[Any]]:
        command = ["-c", "from runtime.cli import main; main()", "mcp", "--url", running.url, *options]
        server = StdioServerParameters(
            command=sys.executable, args=command, cwd=ROOT, env={"FEATURE_SERVICE_API_KEY": running.api_key}
        )
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            names = [tool.name for tool in (await session.list_tools()).tools]
            return names, [_said(await session.call_tool(name, given)) for name, given in calls]

    return asyncio.run(converse())


def _said(answer: Any) -> Any:  # noqa: ANN401  # any JSON
    if answer.isError:
        return answer.content[0].text
    found = answer.structuredContent
    return found["result"] if set(found) == {"result"} else json.loads(json.dumps(found))


def test_an_agent_reads_what_the_api_answers_and_changes_nothing(running: Running) -> None:
    dataset_id = running.build()
    period = {
        "start": format_iso(running.start_ns + 10 * SECOND_NS),
        "end": format_iso(running.start_ns + 70 * SECOND_NS),
    }
    names, [found, vector, history, datasets, lineage, quality, refused, unknown, misspelled, *none_named] = told(
        running,
        ("search_features", {"words": "vwap 15s"}),
        ("latest_vector", {"symbol": "BTCUSDT", "features": ["mid_price"]}),
        ("history_summary", {"symbol": "BTCUSDT", "features": ["price:mid_price"], **period}),
        ("list_datasets", {}),
        ("dataset_lineage", {"dataset_id": dataset_id}),
        ("quality_report", {"symbol": "BTCUSDT", **period}),
        ("latest_vector", {"symbol": "NOSUCH"}),
        ("build_dataset", {"symbol": "BTCUSDT", "periods": {}, "horizon": "5s"}),
        ("search_features", {"query": "vwap"}),
        ("latest_vector", {"symbol": "BTCUSDT", "features": []}),
        ("latest_vector", {"symbol": "BTCUSDT", "features": [""]}),
        ("history_summary", {"symbol": "BTCUSDT", "features": [], **period}),
    )
    assert names == [
        "search_features",
        "latest_vector",
        "history_summary",
        "quality_report",
        "list_datasets",
        "dataset_lineage",
    ]
    assert "vwap_15s" in {each["name"] for each in found["features"]}
    assert list(vector["features"]) == ["mid_price"]
    mid = history["features"]["mid_price"]
    assert (history["rows"], mid["known"]) == (60, 60)
    assert mid["least"] <= mid["mean"] <= mid["greatest"]
    assert [each["dataset_id"] for each in datasets] == [dataset_id]
    with running.client() as client:
        assert lineage == client.get(f"/dataset/{dataset_id}/lineage").json()
    assert quality["symbol"] == "BTCUSDT"
    assert "404" in refused
    assert "NOSUCH" in refused
    assert "Unknown tool" in unknown
    assert misspelled == "search_features: arguments must be among words, group, was query"
    assert all("features: must be names separated by commas, none of them empty, was ''" in each for each in none_named)


def test_an_agent_that_may_builds_a_dataset(running: Running) -> None:
    at = [format_iso(running.start_ns + second * SECOND_NS) for second in (20, 80, 80, 110, 110, 140)]
    sides = [f"{split}_period_{side}" for split in ("train", "validation", "test") for side in ("start", "end")]
    asked = {"symbol": "BTCUSDT", "periods": dict(zip(sides, at, strict=True)), "horizon": "5s"}
    names, [started, wrong] = told(
        running,
        ("build_dataset", asked),
        ("build_dataset", asked | {"horizon": "soon"}),
        options=("--allow-build",),
    )
    assert names[-1] == "build_dataset"
    with running.client() as client:
        assert client.get(f"/dataset/{started['dataset_id']}").status_code == 200
    assert "horizon" in wrong
