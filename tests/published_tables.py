"""Stores that are published as Iceberg tables, as tests fill, publish and read them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from market.clock import DAY_NS, SECOND_NS, utc_date
from market.events import TICKER, TRADE
from market.instruments import Instrument
from runtime.settings import object_store_properties
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.rebuilt_days import write_rebuilt_day
from storage.iceberg.catalog import open_catalog
from storage.iceberg.publishing import PublishedTable
from storage.places import Place, place_of
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from tests.raw_events import message
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from upkeep.publication import publish_changed

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS
PRICE = FeatureGroup("price", "aaaa", ("mid",), (0,))
SET = FeatureSet("1.0.0", ("mid",), (PRICE,), "cccc")
WIDER = FeatureSet("1.1.0", ("mid", "spread"), (FeatureGroup("price", "aaaa", ("mid", "spread"), (0, 1)),), "dddd")
FEATURES, TRADES = "features.price_aaaa", "raw.raw_trades"
Row = tuple[int, int, float]


@dataclass
class Published:
    """Stores at a place, and their catalogue."""

    place: Place
    catalog: SqlCatalog

    @property
    def log(self) -> FeatureLog:
        return FeatureLog(self.place / "features")

    @property
    def raw(self) -> RawData:
        return RawData(Path("/nowhere"), self.place / "raw")

    def write(
        self, first: int, count: int, value: float, *, chosen: FeatureSet = SET, late_ns: int = 10_000_001
    ) -> None:
        rows = rows_of(first, count, value, chosen)
        with FeatureLogWriter(self.log.folder) as writer:
            writer.append(rows, rows.row_ns + late_ns)

    def rebuild(self, first: int, count: int, value: float, inputs: str, *, is_revising: bool = False) -> None:
        rows = rows_of(first, count, value, SET)
        date = utc_date(int(rows.row_ns[0]))
        write_rebuilt_day(
            self.log,
            SYMBOL,
            SET.groups,
            iter([(rows, rows.row_ns + SECOND_NS)]),
            date=date,
            inputs={"price": inputs},
            is_revising=lambda: is_revising,
        )

    def publish(self, *, keep_ns: int = 7 * DAY_NS, now_ns: int | None = None) -> dict[str, PublishedTable]:
        now_ns = time.time_ns() if now_ns is None else now_ns
        done = publish_changed(
            self.catalog, self.raw, self.log, keep_ns=keep_ns, now_ns=now_ns, reach=lambda _share: None
        )
        return {table.name: table for table in done}

    def expire(self) -> dict[str, PublishedTable]:
        """Publish when every snapshot but the current has had its time."""
        return self.publish(now_ns=time.time_ns() + 9 * DAY_NS)

    def table(self, name: str = FEATURES) -> Table:
        return self.catalog.load_table(name)

    def rows(self, *, snapshot_id: int | None = None) -> list[Row]:
        """What a reader of the table finds: event time, availability and value of each row, sorted."""
        found = self.table().scan(snapshot_id=snapshot_id).to_arrow()
        event = found.column("event_timestamp").cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy().tolist()
        available, mid = (found.column(name).to_numpy().tolist() for name in ("available_ns", "mid"))
        return sorted(zip(event, available, mid, strict=True))


def rows_of(first: int, count: int, value: float, chosen: FeatureSet) -> FeatureRows:
    row_ns = MIDNIGHT_NS + np.arange(first, first + count) * SECOND_NS
    values = np.full((count, len(chosen.columns)), value)
    return FeatureRows(SYMBOL, chosen, row_ns, values, np.zeros((count, 1), np.int8))


def expected(first: int, count: int, value: float, late_ns: int = 10_000_001) -> list[Row]:
    return [(at, at + late_ns, value) for at in (MIDNIGHT_NS + (first + each) * SECOND_NS for each in range(count))]


def write_trades(published: Published, part: str, first_seq: int) -> None:
    events = np.concatenate(
        [
            message(first_seq, MIDNIGHT_NS + first_seq, TRADE),
            message(first_seq + 1, MIDNIGHT_NS + first_seq + 1, TICKER),
        ]
    )
    write_events(published.place / "raw", Instrument(SYMBOL, 2, 3), events, part=part)


def addresses(published: Published, snapshot_id: int | None) -> set[str]:
    return {task.file.file_path for task in published.table().scan(snapshot_id=snapshot_id).plan_files()}


def publish(address: str, catalog: str, url: str, keep_ns: int) -> None:
    """Publish what is at an address, in a process that a test kills."""
    with open_catalog(catalog, url, object_store_properties()) as opened:
        Published(place_of(address), opened).publish(keep_ns=keep_ns)
