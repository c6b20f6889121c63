"""A backfill is told in the bodies that the users' documents state, key by key, behind the service's key."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient

from api import backfill as routes
from backfill.jobs import BackfillJobs
from tests.bybit_rest import BybitHistoryServer, Failure
from tests.contract.test_backfill_jobs import asked, client, engine, exchange, jobs, pauses, url

__all__ = ["client", "engine", "exchange", "jobs", "pauses", "url"]  # the fixtures

STARTED: Final = """{"job_id": "backfill-job-123", "status": "pending", "message": "Backfilling job started"}"""
"""What both POST routes answer, as the users' documents write it."""
DOCUMENTED: Final = {
    "in_progress": """{"job_id": "151a2a02-f59c-4273-ab96-c21ef652b13b", "symbol": "BTCUSDT",
        "start_date": "2025-12-04", "end_date": "2025-12-07", "data_types": ["klines"], "status": "in_progress",
        "progress": {"dates_completed": 0, "dates_total": 1, "current_date": "2025-12-04"},
        "start_time": "2025-12-07T12:53:26.668331+00:00", "end_time": null, "error_message": null,
        "completed_dates": [], "failed_dates": []}""",
    "completed": """{"job_id": "backfill-job-123", "symbol": "BTCUSDT", "start_date": "2025-12-04",
        "end_date": "2025-12-07", "data_types": ["klines"], "status": "completed",
        "progress": {"dates_completed": 4, "dates_total": 4},
        "start_time": "2025-12-07T12:53:26.668331+00:00", "end_time": "2025-12-07T12:55:10.123456+00:00",
        "error_message": null,
        "completed_dates": ["2025-12-04", "2025-12-05", "2025-12-06", "2025-12-07"], "failed_dates": []}""",
    "failed": """{"job_id": "backfill-job-456", "symbol": "BTCUSDT", "start_date": "2025-12-04",
        "end_date": "2025-12-07", "data_types": ["klines"], "status": "failed",
        "progress": {"dates_completed": 2, "dates_total": 4},
        "start_time": "2025-12-07T12:53:26.668331+00:00", "end_time": "2025-12-07T12:54:15.789012+00:00",
        "error_message": "Rate limit exceeded for date 2025-12-06",
        "completed_dates": ["2025-12-04", "2025-12-05"], "failed_dates": ["2025-12-06", "2025-12-07"]}""",
}
"""A job's status as the users' documents write it."""


def shape(found: object) -> object:
    """Keys in their order, and the types of values; of a list the types that it has."""
    if isinstance(found, dict):
        return [(key, shape(value)) for key, value in found.items()]
    if isinstance(found, list):
        return {type(value) for value in found}
    return type(found)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("historical", asked()),
        ("auto", {"symbol": asked()["symbol"], "max_days": 3}),
        ("auto", {"symbol": asked()["symbol"]}),
    ],
)
def test_a_job_is_accepted_as_the_documents_write_it(client: TestClient, route: str, body: dict[str, object]) -> None:
    found = client.post(f"/backfill/{route}", json=body)
    documented = json.loads(STARTED)
    assert found.status_code == 202
    assert list(found.json().items()) == list((documented | {"job_id": "job-1"}).items())


def test_every_status_is_told_as_the_documents_write_it(
    client: TestClient, jobs: BackfillJobs, exchange: BybitHistoryServer, pauses: list[Callable[[], object]]
) -> None:
    def told(job_id: str) -> Any:  # noqa: ANN401  # of JSON
        return client.get(f"/backfill/status/{job_id}").json()

    found: dict[str, Any] = {}
    client.post("/backfill/historical", json=asked())
    pauses.append(lambda: found.setdefault("in_progress", told("job-1")))
    jobs.worker().run_until_empty()
    found["completed"] = told("job-1")
    pauses.clear()
    client.post("/backfill/historical", json=asked(start_date="2025-05-30", end_date="2025-05-31"))
    exchange.failures += [Failure(400, b"no")] * 2
    jobs.worker().run_until_empty()
    found["failed"] = told("job-2")
    assert {status: shape(body) for status, body in found.items()} == {
        status: shape(json.loads(text)) for status, text in DOCUMENTED.items()
    }
    assert {status: body["status"] for status, body in found.items()} == {status: status for status in DOCUMENTED}
    assert found["in_progress"]["progress"] == {
        "dates_completed": 0,
        "dates_total": 3,
        "current_date": "2025-05-31",
    }
    assert found["failed"]["progress"] == {"dates_completed": 1, "dates_total": 2}


def test_a_log_tells_what_was_stored_and_what_stood(
    client: TestClient, jobs: BackfillJobs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="backfill.jobs")
    for _ in range(2):
        client.post("/backfill/historical", json=asked(end_date="2025-05-31"))
        jobs.worker().run_until_empty()
    told = [line for line in caplog.messages if " of 2025-05-31: " in line]
    assert told == [
        "backfill job-1: DOGEUSDT klines of 2025-05-31: 1440 messages stored",
        "backfill job-2: DOGEUSDT klines of 2025-05-31: nothing to store",
    ]


def test_without_data_types_those_are_fetched_that_the_served_version_reads(client: TestClient) -> None:
    of_period = {name: value for name, value in asked().items() if name != "data_types"}
    assert client.post("/backfill/historical", json=of_period).status_code == 202
    found = client.get("/backfill/status/job-1").json()
    assert found["data_types"] == ["klines", "trades", "orderbook", "ticker", "funding"]


def test_every_route_is_behind_the_key_and_knows_no_job_that_is_none(client: TestClient) -> None:
    posts = ["/backfill/historical", "/backfill/auto", "/backfill/job-1/cancel"]
    gets = ["/backfill/status/job-1", "/backfill/list"]
    assert len([*posts, *gets]) == len(routes.router.routes)
    wrong = {"X-API-Key": "wrong"}
    refused = [client.post(path, json=asked(), headers=wrong) for path in posts]
    refused += [client.get(path, headers=wrong) for path in gets]
    assert {answer.status_code for answer in refused} == {401}
    assert client.get("/backfill/list").json() == []
    assert client.get("/backfill/status/job-1").status_code == 404
