"""Parts of the feature log as they were written before their times were microseconds."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TIMES = {"event_timestamp": pa.timestamp("ns", "UTC"), "created_timestamp": pa.timestamp("ns", "UTC")}


def restate_before(path: Path) -> None:
    """Write a part again as it was written before: both times in nanoseconds, and no available_ns."""
    with pq.ParquetFile(path) as file:
        table, metadata = file.read(), file.metadata.metadata or {}
    exact = table.column("available_ns").cast(TIMES["created_timestamp"])
    table = table.set_column(1, pa.field("created_timestamp", exact.type, nullable=False), exact)
    event = table.column(0).cast(TIMES["event_timestamp"])
    table = table.set_column(0, pa.field("event_timestamp", event.type, nullable=False), event).drop_columns(
        ["available_ns"]
    )
    kept = {key: value for key, value in metadata.items() if not key.startswith(b"ARROW")}
    pq.write_table(table.replace_schema_metadata(kept), path, compression="lz4", write_page_checksum=True)
