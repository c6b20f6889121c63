"""Files whose names state their period are opened only where that meets the times asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.definitions import definitions
from feature_repo.parquet_pruning import PERIOD, PERIOD_TAG, may_be_of
from feature_repo.parquet_source import UTC_NS, ParquetSource
from market.clock import DAY_NS, HOUR_NS, MICROSECOND_NS, parse_iso_ns
from market.errors import CorruptStore

BEGIN_NS = parse_iso_ns("2026-01-05T00:00:00")
NAMES = ("rebuilt-{}-{}-d2e01ba834569213", "part-{}-{}", "revised-{}-{}-20-d2e01ba834569213")


def name_of(day: int, name: str = NAMES[0]) -> str:
    first_ns = BEGIN_NS + day * DAY_NS
    return name.format(first_ns, first_ns + DAY_NS - 1) + ".parquet"


def source_of(folder: Path, **tags: str) -> FileSource:
    return FileSource(name="log", path=str(folder), timestamp_field="event_timestamp", tags=tags)


def days_read(source: FileSource, day: int) -> list[Any]:
    """What is held of the second hour of a day."""
    hour_ns = BEGIN_NS + day * DAY_NS + HOUR_NS
    files = ParquetSource.open(None, source, {})
    chosen = files.select(["day"], time_field="event_timestamp", low_ns=hour_ns, high_ns=hour_ns + HOUR_NS)
    return chosen.table().column("day").to_pylist()


def test_no_file_of_another_period_is_opened(tmp_path: Path) -> None:
    for day in range(3):
        times = pa.array([BEGIN_NS + day * DAY_NS + HOUR_NS]).cast(UTC_NS)
        pq.write_table(pa.table({"event_timestamp": times, "day": pa.array([day])}), tmp_path / name_of(day))
    (tmp_path / name_of(0)).write_bytes(b"not Parquet")
    assert days_read(source_of(tmp_path, **{PERIOD_TAG: PERIOD}), 1) == [1]
    with pytest.raises(CorruptStore):
        days_read(source_of(tmp_path, **{PERIOD_TAG: PERIOD}), 0)
    # Of files that are not ours a name says nothing.
    with pytest.raises(CorruptStore):
        days_read(source_of(tmp_path), 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_lets_in_what_its_period_meets(name: str) -> None:
    path = f"log/symbol=A/date=2026-01-05/{name_of(0, name)}"
    last_ns = BEGIN_NS + DAY_NS - 1
    assert may_be_of(path, None, None)
    assert may_be_of(path, last_ns, None)
    assert may_be_of(path, None, BEGIN_NS)
    assert may_be_of(path, BEGIN_NS - DAY_NS, last_ns + DAY_NS)
    # Times in a file are rounded to microseconds.
    assert may_be_of(path, last_ns + MICROSECOND_NS, None)
    assert not may_be_of(path, last_ns + 2 * MICROSECOND_NS, None)
    assert not may_be_of(path, None, BEGIN_NS - 2 * MICROSECOND_NS)


@pytest.mark.parametrize("name", ["data.parquet", "part-1.parquet", "part-00000000.parquet", "part-1-2-x.csv"])
def test_a_file_of_another_name_may_hold_any_time(name: str) -> None:
    assert may_be_of(f"log/{name}", BEGIN_NS, BEGIN_NS)


def test_the_sources_of_streamed_views_have_files_named_by_their_period(tmp_path: Path) -> None:
    found = definitions(features_folder=tmp_path)
    named = [each for each in found if getattr(each, "tags", {}).get("fingerprint")]
    assert len(named) > 1
    assert all(view.batch_source.tags.get(PERIOD_TAG) == PERIOD for view in named)  # type: ignore[union-attr]
