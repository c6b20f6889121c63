"""Every query of every dashboard runs on our tables, and finds what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from sqlalchemy import Connection, NullPool, create_engine, insert, text

from storage.database.metric_tables import API_ENDPOINT_METRICS
from tests.dashboards import queries

TABLES: Final = API_ENDPOINT_METRICS.metadata
NOW: Final = datetime.now(UTC)
JOB: Final = "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, status) VALUES ('builds', 'build', 'todo')"

# A row of each table that a panel reads; what is not said is the column's default.
ROWS: Final[Mapping[str, Mapping[str, Any]]] = {
    "feature_computation_metrics": {
        "symbol": "BTCUSDT",
        "computation_timestamp": NOW,
        "latency_ms": 12.0,
        "latency_max_ms": 30.0,
        "feature_registry_version": "2.0.0",
        "computation_interval": "1s",
        "features_count": 168,
        "computations": 60,
        "stored": 60,
        "events_count": 6000,
    },
    "dataset_building_metrics": {
        "dataset_id": "d",
        "attempt": 1,
        "symbol": "BTCUSDT",
        "symbols": ["BTCUSDT"],
        "build_started_at": NOW,
        "build_completed_at": NOW,
        "build_status": "ready",
        "build_duration_seconds": 9.0,
        "feature_registry_version": "2.0.0",
        "days_computed": 1,
        "days_reused": 2,
    },
    "api_endpoint_metrics": {
        "endpoint": "/features/latest",
        "method": "GET",
        "response_time_ms": 1.0,
        "status_code": 404,
        "request_timestamp": NOW,
    },
    "data_quality_metrics": {
        "symbol": "BTCUSDT",
        "metric_timestamp": NOW,
        "missing_rate": 0.01,
        "anomaly_rate": 0.0,
        "sequence_gaps_count": 1,
        "desynchronization_events_count": 1,
        "data_completeness_rate": 0.9,
        "received": {"orderbook": 6000},
        "carried": {},
    },
    "data_quality_events": {
        "symbol": "BTCUSDT",
        "stream": "orderbook",
        "what": "gap",
        "severity": "warning",
        "begin_at": NOW,
        "detail": "3 messages are missing",
    },
    "data_quality_reports": {
        "id": "00000000-0000-0000-0000-000000000001",
        "symbol": "BTCUSDT",
        "period_start": NOW,
        "period_end": NOW,
        "sequence_gaps": 0,
        "desynchronization_events": 0,
        "report": {},
        "created_at": NOW,
    },
    "datasets": {
        "dataset_id": "d",
        "symbols": ["BTCUSDT"],
        "status": "failed",
        "request": {},
        "feature_registry_version": "2.0.0",
        "feature_set": "f",
        "progress": 0.2,
        "created_at": NOW,
        "updated_at": NOW,
    },
    "freshness_minutes": {"view": "price", "tier": 1, "minute": NOW, "looks": 2, "fresh": 2, "covered": 1},
    "alerts": {
        "rule": "row_old",
        "subject": "BTCUSDT",
        "severity": "critical",
        "summary": "s",
        "action": "a",
        "found_at": NOW,
        "seen_at": NOW,
        "told": {},
    },
    "backfill_jobs": {
        "job_id": "j",
        "symbol": "BTCUSDT",
        "start_date": "2026-01-01",
        "end_date": "2026-01-02",
        "data_types": ["klines"],
        "status": "pending",
        "details": {},
        "created_at": NOW,
    },
}
TASKS: Final = (
    {"task": "materialization", "period_seconds": 300.0, "registered_at": NOW},
    {
        "task": "disk",
        "period_seconds": 30.0,
        "registered_at": NOW,
        "succeeded_at": NOW,
        "result": {"disks": [{"folders": ["raw"], "used_percent": 40.0}], "problems": []},
    },
)


@pytest.fixture(scope="module")
def filled(url: str) -> Iterator[Connection]:
    """A connection to a database with a row in every table that is shown."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for name, row in ROWS.items():
            connection.execute(insert(TABLES.tables[name]).values(row))
        for task in TASKS:
            connection.execute(insert(TABLES.tables["upkeep_tasks"]).values(task))
        # Its trigger writes to a table beside it.
        for statement in ("SET LOCAL search_path TO jobs", JOB, "SET LOCAL search_path TO public"):
            connection.execute(text(statement))
        yield connection


def test_every_panel_finds_what_is_in_the_tables(filled: Connection) -> None:
    found = list(queries())
    assert len(found) > 25
    for name, kind, query in found:
        result = filled.execute(text(query))
        columns, rows = list(result.keys()), result.all()
        assert rows, name
        if kind == "timeseries":
            assert columns[0] == "time", name
            assert len(columns) > 1, name
            assert all(isinstance(row[0], datetime) for row in rows), name
