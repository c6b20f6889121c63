"""Published tables: the files of the stores as Iceberg tables, which say what the stores say, at any snapshot."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from market.clock import DAY_NS, SECOND_NS, utc_date
from market.errors import Conflict
from storage.features.merging import KEPT_NS, merge_days
from storage.iceberg.catalog import listed_tables
from storage.iceberg.publishing import MANIFEST, PublishedTable
from storage.objects.path import ObjectPath
from storage.objects.unnamed import remove_unnamed
from storage.raw.raw_data import RawData
from storage.retention.features import delete_feature_days, expired_feature_days
from storage.retention.raw import delete_parts
from tests.duckdb_extensions import loading_extensions
from tests.parts_before import restate_before
from tests.published_tables import (
    FEATURES,
    MIDNIGHT_NS,
    SET,
    SYMBOL,
    TRADES,
    WIDER,
    Published,
    addresses,
    expected,
    write_trades,
)
from tests.s3_server import CREDENTIALS


def test_the_files_of_the_stores_are_registered_as_they_are_and_only_what_changed_is(published: Published) -> None:
    write_trades(published, "p1", 1)
    published.write(0, 3, 1.0)
    done = published.publish()
    assert {name: (table.added, table.dropped) for name, table in done.items()} == {
        FEATURES: (1, 0),
        "raw.raw_funding": (1, 0),
        "raw.raw_ticker": (1, 0),
        TRADES: (1, 0),
    }
    assert published.rows() == expected(0, 3, 1.0)
    [task] = published.table().scan().plan_files()
    [part] = published.log.folder.glob("*/*/symbol=*/date=*/*.parquet")
    if isinstance(part, ObjectPath):
        named = part.named()
        assert named is not None
        assert task.file.file_path == f"s3://{part.bucket.name}/{named.key}"
    else:
        assert Path(task.file.file_path.removeprefix("file://")).samefile(part)
    assert published.table().scan(row_filter="symbol = 'ETHUSDT'").to_arrow().num_rows == 0
    trades = published.table(TRADES).scan(row_filter=f"date = '{utc_date(MIDNIGHT_NS)}'").to_arrow().to_pylist()
    assert [(row["seq"], row["px"], row["price_exponent"], row["flags"]) for row in trades] == [(1, -7, 2, 3)]

    again = published.publish()
    assert {name: table.snapshot_id for name, table in again.items()} == {
        name: table.snapshot_id for name, table in done.items()
    }
    assert all((table.added, table.dropped) == (0, 0) for table in again.values())
    write_trades(published, "p2", 5)
    later = published.publish()
    assert later[TRADES].added == 1
    assert later[FEATURES].snapshot_id == done[FEATURES].snapshot_id
    current = published.table(TRADES).current_snapshot()
    assert current is not None
    assert current.summary is not None
    stated = sorted(
        f"{file.path} {file.sha256}\n"
        for part in published.raw.parts(SYMBOL)
        for file in part.files
        if file.table == "raw_trades"
    )
    assert current.summary.additional_properties[MANIFEST] == digest(stated)
    listed = {table.name: table for table in listed_tables(published.catalog)}
    assert (listed[TRADES].files, listed[TRADES].rows, listed[TRADES].snapshots) == (2, 2, 2)
    assert listed[TRADES].manifest_sha256 == digest(stated)


def digest(lines: list[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("place", ["this machine", pytest.param("object store", marks=pytest.mark.soak)], indirect=True)
def test_a_day_that_is_rebuilt_or_merged_is_replaced_in_one_snapshot_and_the_earlier_one_is_still_read(
    published: Published,
) -> None:
    published.rebuild(0, 4, 1.0, "aa")
    first = published.publish()[FEATURES]
    published.rebuild(0, 4, 2.0, "bb")
    second = published.publish()[FEATURES]
    assert (second.added, second.dropped) == (1, 1)
    assert published.rows() == expected(0, 4, 2.0, SECOND_NS)
    assert published.rows(snapshot_id=first.snapshot_id) == expected(0, 4, 1.0, SECOND_NS)
    published.rebuild(0, 4, 3.0, "cc", is_revising=True)
    published.publish()
    both = sorted(expected(0, 4, 2.0, SECOND_NS) + expected(0, 4, 3.0, SECOND_NS))
    assert published.rows() == both  # a revision: what was known before stays readable
    for at in range(4):
        published.write(10 + at, 1, 5.0)
    published.publish()
    merge_days(published.log.folder, now_ns=0)
    assert published.publish()[FEATURES].dropped == 4
    whole = sorted(both + expected(10, 4, 5.0))
    assert published.rows() == whole  # although the parts are still beside the merged one
    merge_days(published.log.folder, now_ns=KEPT_NS)
    before = published.publish()[FEATURES]
    assert (before.added, before.dropped) == (0, 0)
    assert published.rows() == whole
    history = published.table().metadata.snapshots
    assert [published.rows(snapshot_id=each.snapshot_id) for each in history[:2]] == [
        expected(0, 4, 1.0, SECOND_NS),
        expected(0, 4, 2.0, SECOND_NS),
    ]
    assert published.expire()[FEATURES].expired == len(history) - 1
    assert len(published.table().metadata.snapshots) == 1
    assert published.rows() == whole
    assert published.table().properties.keys().isdisjoint({"feature-service.unreferenced"})


def test_what_retention_removes_is_read_until_it_is_published_and_no_reader_meets_a_missing_file(
    published: Published,
) -> None:
    published.write(0, 2, 1.0)
    published.write(86_400, 2, 2.0)
    write_trades(published, "p1", 1)
    first = published.publish()[FEATURES]
    days = expired_feature_days(published.log, SYMBOL, MIDNIGHT_NS + DAY_NS)
    assert delete_feature_days(published.log, days, used_by=()) > 0
    both = expected(0, 2, 1.0) + expected(86_400, 2, 2.0)
    assert published.rows() == both  # by the snapshot of before
    assert published.publish()[FEATURES].dropped == 1
    assert published.rows() == expected(86_400, 2, 2.0)
    assert published.rows(snapshot_id=first.snapshot_id) == both
    gone = addresses(published, first.snapshot_id) - addresses(published, None)
    assert len(gone) == 1
    if isinstance(published.log.folder, ObjectPath):
        assert remove_unnamed(published.log.folder, older_than_s=0.0) == (0, 0)
    assert all(is_there(address) for address in gone)
    published.expire()
    assert not any(is_there(address) for address in gone)
    assert published.rows() == expected(86_400, 2, 2.0)


def is_there(address: str) -> bool:
    if not address.startswith("s3://"):
        return Path(address.removeprefix("file://")).is_file()
    path = ObjectPath(address)
    try:
        path.bucket.get(path.key)
    except FileNotFoundError:
        return False
    return True


def test_a_part_of_before_is_published_rewritten_and_stays_as_it_is(here: Published) -> None:
    here.write(0, 3, 1.0)
    [part] = (here.place / "features" / "price").rglob("*.parquet")
    assert isinstance(part, Path)
    restate_before(part)
    content = part.read_bytes()
    here.write(10, 2, 2.0, chosen=WIDER)
    done = here.publish()[FEATURES]
    assert done.added == 2
    assert here.rows() == expected(0, 3, 1.0) + expected(10, 2, 2.0)
    found = here.table().scan(row_filter="mid = 1.0").to_arrow()
    assert found.column("spread").null_count == 3  # not computed, rather than not known
    assert found.schema.field("created_timestamp").type == pa.timestamp("us", "UTC")
    assert part.read_bytes() == content
    assert here.publish()[FEATURES] == PublishedTable(FEATURES, 0, 0, 0, done.snapshot_id)
    merge_days(here.log.folder, now_ns=0)  # of other columns: nothing to merge
    assert here.log.read(SYMBOL, SET, from_ns=None, to_ns=None)[0].values[:, 0].tolist() == [1.0] * 3 + [2.0] * 2


def test_polars_and_duckdb_read_the_same_rows_as_of_a_time_and_as_of_a_snapshot(
    here: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    here.rebuild(0, 3, 1.0, "aa")
    first = here.publish()[FEATURES]
    here.rebuild(0, 3, 2.0, "bb")
    here.publish()
    table = here.table()
    assert pl.scan_iceberg(table).select("mid").collect()["mid"].to_list() == [2.0] * 3
    native = pl.scan_iceberg(table, reader_override="native", snapshot_id=first.snapshot_id)
    assert native.filter(pl.col("symbol") == SYMBOL).collect()["mid"].to_list() == [1.0] * 3
    assert native.collect()["available_ns"].to_list() == [
        available for _, available, _ in expected(0, 3, 1.0, SECOND_NS)
    ]
    with duckdb.connect() as connection:
        connection.register("rows", table.scan().to_arrow())
        found = connection.execute(
            "SELECT mid FROM rows WHERE created_timestamp <= ? ORDER BY event_timestamp",
            [pa.scalar(MIDNIGHT_NS + 2 * SECOND_NS, pa.timestamp("ns", "UTC")).as_py()],
        ).fetchall()
    assert found == [(2.0,), (2.0,)]


def test_duckdbs_own_extension_reads_a_table_by_its_metadata_at_any_snapshot(published: Published) -> None:
    published.rebuild(0, 3, 1.0, "aa")
    first = published.publish()[FEATURES]
    published.rebuild(0, 3, 2.0, "bb")
    write_trades(published, "p1", 1)
    published.publish()
    at = published.table().metadata_location
    with duckdb.connect() as connection:
        connection.execute(loading_extensions())
        if at.startswith("s3://"):
            endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
            key, secret, region = CREDENTIALS.values()
            connection.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION '{region}', ENDPOINT '{endpoint}', "
                "URL_STYLE 'path', USE_SSL false)"
            )

        def read(columns: str, source: str) -> list[tuple[Any, ...]]:
            return connection.execute(f"SELECT {columns} FROM iceberg_scan({source}) ORDER BY ALL").fetchall()  # noqa: S608  # of the test

        rows = [(at, mid) for _, at, mid in expected(0, 3, 2.0, SECOND_NS)]
        assert read("available_ns, mid", f"'{at}'") == rows
        assert read("mid", f"'{at}', snapshot_from_id = {first.snapshot_id}") == [(1.0,)] * 3
        assert read("symbol, px, price_exponent", f"'{published.table(TRADES).metadata_location}'") == [(SYMBOL, -7, 2)]


def test_a_catalogue_is_of_one_store(here: Published, tmp_path: Path) -> None:
    here.write(0, 2, 1.0)
    here.publish()
    other = Published(tmp_path / "other", here.catalog)
    other.write(0, 2, 1.0)
    with pytest.raises(Exception, match="must be of one store in a catalogue") as refused:
        other.publish()
    assert not isinstance(refused.value, Conflict)  # told with the others that failed


def test_raw_parts_that_are_deleted_leave_the_table(here: Published) -> None:
    write_trades(here, "p1", 1)
    write_trades(here, "p2", 5)
    here.publish()
    root = here.place / "raw"
    assert isinstance(root, Path)
    raw = RawData(root)
    delete_parts(raw, raw.parts(SYMBOL)[:1], used_by=())
    assert here.publish()[TRADES].dropped == 1
    assert here.table(TRADES).scan().to_arrow().column("seq").to_pylist() == [5]
