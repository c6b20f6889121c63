"""Figures reach PostgreSQL in batches, and nothing waits for it while it is away."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, make_url

from storage.database.computations import Processed, read_processed
from storage.database.figures import drop_figures
from storage.database.metadata import Metadata
from storage.database.metric_tables import API_ENDPOINT_METRICS
from storage.database.metric_writer import MetricWriter, computation_writer, request_writer
from tests.postgres_servers import empty_tables, run
from tests.tcp_proxy import TcpProxy
from tests.waiting import eventually

NOON = datetime(2026, 8, 9, 12, tzinfo=UTC)


def answered(at: datetime = NOON, *, ms: float = 1.5, **changed: str | None) -> dict[str, Any]:
    return {
        "endpoint": "/features/latest",
        "method": "GET",
        "response_time_ms": ms,
        "status_code": 200,
        "symbol": "BTCUSDT",
        "request_timestamp": at,
        "trace_id": "t",
        **changed,
    }


def computed(at: datetime, *, interval: str = "1s", rows: int = 60, events: int = 6000) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "computation_timestamp": at,
        "latency_ms": 12.5,
        "latency_max_ms": 30.0,
        "feature_registry_version": "2.0.0",
        "computation_interval": interval,
        "features_count": 168,
        "computations": rows,
        "stored": rows,
        "events_count": events,
        "error_count": 0,
        "trace_id": None,
    }


def count(url: str) -> int:
    [(found,)] = run(url, "SELECT count(*) FROM api_endpoint_metrics")
    return int(found)


@pytest.fixture(autouse=True)
def _empty(url: str) -> None:
    empty_tables(url)


def test_rows_are_written_at_the_latest_at_the_end_and_dropped_by_their_age(url: str) -> None:
    with closing(request_writer(url)) as writer:
        writer.add(answered(NOON - timedelta(days=31)))
        writer.add(answered(symbol=None, trace_id=None))
    assert run(url, "SELECT endpoint, symbol, response_time_ms FROM api_endpoint_metrics ORDER BY symbol") == [
        ("/features/latest", "BTCUSDT", 1.5),
        ("/features/latest", None, 1.5),
    ]
    with closing(computation_writer(url)) as writer:
        writer.add(computed(NOON - timedelta(days=31)))
    dropped = drop_figures(url, NOON - timedelta(days=30))
    assert (dropped["api_endpoint_metrics"], dropped["feature_computation_metrics"]) == (1, 1)


def test_the_last_hour_and_day_are_added_up(url: str) -> None:
    with closing(computation_writer(url)) as writer:
        for hours in (0.5, 2, 23, 25):
            writer.add(computed(NOON - timedelta(hours=hours)))
            writer.add(computed(NOON - timedelta(hours=hours), interval="3s", rows=20, events=0))
    with closing(Metadata(url)) as metadata:
        assert read_processed(metadata, NOON) == Processed(60, 180, 6000, 18000)
        assert read_processed(metadata, NOON + timedelta(days=9)) == Processed(0, 0, 0, 0)


def test_of_too_many_rows_a_sample_stays_and_the_others_are_counted(url: str) -> None:
    with closing(MetricWriter(url, API_ENDPOINT_METRICS, most=100, flush_s=3600)) as writer:
        for at in range(1000):
            writer.add(answered(ms=float(at)))
        assert (writer.waiting, writer.dropped) == (100, 900)
    [(kept, mean)] = run(url, "SELECT count(*), avg(response_time_ms) FROM api_endpoint_metrics")
    assert kept == 100
    assert 350 < mean < 650  # five standard errors of a uniform sample


def test_a_row_that_the_database_refuses_keeps_none_after_it_out(url: str) -> None:
    with closing(MetricWriter(url, API_ENDPOINT_METRICS, flush_s=0.01)) as writer:
        writer.add(answered(trace_id="\0"))
        eventually(lambda: writer.dropped == 1, deadline_s=10, pause_s=0.01)
        writer.add(answered())
    assert count(url) == 1


def test_while_the_database_is_away_rows_wait_and_nobody_with_them(url: str) -> None:
    found = make_url(url)
    port = found.port or int(str(found.query.get("port", 5432)))
    folder = found.query.get("host")
    proxy = TcpProxy(("127.0.0.1", port) if folder is None else Path(str(folder)) / f".s.PGSQL.{port}")
    through = URL.create(found.drivername, found.username, host="127.0.0.1", port=proxy.port, database=found.database)
    with (
        closing(proxy),
        closing(
            MetricWriter(through.render_as_string(hide_password=False), API_ENDPOINT_METRICS, most=50, flush_s=0.02)
        ) as writer,
    ):
        writer.add(answered())
        eventually(lambda: count(url) == 1, deadline_s=10)
        proxy.go_away()
        for _ in range(80):
            writer.add(answered())
        eventually(lambda: writer.dropped >= 30, deadline_s=10)
        proxy.come_back()
        eventually(lambda: count(url) == 51, deadline_s=10)
        assert writer.dropped == 30


def test_a_database_that_never_was_there_keeps_nobody_at_the_end() -> None:
    writer = request_writer("postgresql+psycopg://postgres@127.0.0.1:1/none")
    writer.add(answered())
    writer.close()
    assert writer.waiting == 1
