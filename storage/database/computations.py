"""What was computed in the last hour and day, from the figures that the ingest workers leave by the minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select

from storage.database.metadata import Metadata
from storage.database.metric_tables import FEATURE_COMPUTATION_METRICS

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Processed:
    """Rows computed at whole seconds, and messages taken, by the ends of minutes."""

    rows_1h: int
    rows_24h: int
    events_1h: int
    events_24h: int


def read_processed(metadata: Metadata, now: datetime) -> Processed:
    """Of every symbol; the last minute may be missing yet. Raises StoreUnavailable."""
    table = FEATURE_COMPUTATION_METRICS.c
    in_hour = table.computation_timestamp > now - HOUR
    rows, events = func.sum(table.computations), func.sum(table.events_count)
    query = select(
        func.coalesce(rows.filter(in_hour), 0).label("rows_1h"),
        func.coalesce(rows, 0).label("rows_24h"),
        func.coalesce(events.filter(in_hour), 0).label("events_1h"),
        func.coalesce(events, 0).label("events_24h"),
    ).where(table.computation_interval == "1s", table.computation_timestamp > now - DAY)
    (found,) = metadata.rows(query)
    return Processed(**{name: int(count) for name, count in found.items()})
