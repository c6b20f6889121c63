"""The record of a dataset, and what the metadata database says of its builds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from storage.database.dataset_records import DatasetRecord
from tests.postgres_servers import run

NOON = datetime(2026, 8, 9, 12, 0, 0, 123456, tzinfo=UTC)
RECORD = DatasetRecord(
    dataset_id="ds-1",
    symbols=("BTCUSDT", "ETHUSDT"),
    request={"symbol": "BTCUSDT", "target_config": {"horizon": "1m", "threshold": 0.001}},
    feature_registry_version="2.0.0",
    feature_set="f00d",
    created_at=NOON,
    updated_at=NOON,
)


def building_metrics(url: str) -> list[tuple[Any, ...]]:
    return run(
        url,
        "SELECT dataset_id, attempt, symbol, build_status, build_duration_seconds, records_count, test_records, "
        "split_strategy, trace_id FROM dataset_building_metrics ORDER BY dataset_id, attempt",
    )
