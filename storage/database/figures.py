"""Figures of the past in PostgreSQL, by the minute or the event: what is older than they are kept goes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, delete

from storage.database.connections import open_engine, transaction
from storage.database.metric_tables import (
    API_ENDPOINT_METRICS,
    DATASET_BUILDING_METRICS,
    FEATURE_COMPUTATION_METRICS,
)
from storage.database.schema import (
    ALERT_SILENCES,
    ALERTS,
    DATA_QUALITY_EVENTS,
    DATA_QUALITY_METRICS,
    FRESHNESS_MINUTES,
    SHADOW_MISMATCHES,
)

_TIMES: Final[Mapping[str, Column[Any]]] = {
    each.table.name: each
    for each in (
        FRESHNESS_MINUTES.c.minute,
        ALERTS.c.closed_at,
        ALERT_SILENCES.c.until,
        DATA_QUALITY_METRICS.c.metric_timestamp,
        DATA_QUALITY_EVENTS.c.end_at,
        SHADOW_MISMATCHES.c.found_at,
        FEATURE_COMPUTATION_METRICS.c.computation_timestamp,
        DATASET_BUILDING_METRICS.c.build_completed_at,
        API_ENDPOINT_METRICS.c.request_timestamp,
    )
}
"""By table, the time whose age counts; a row without one stays."""


def drop_figures(url: str, before: datetime) -> dict[str, int]:
    """Delete the figures that are older; how many rows of each table. Raises StoreUnavailable."""
    engine = open_engine(url)
    dropped = {}
    try:
        for name, time in _TIMES.items():
            with transaction(engine) as connection:
                dropped[name] = connection.execute(delete(time.table).where(time < before)).rowcount
    finally:
        engine.dispose()
    return dropped
