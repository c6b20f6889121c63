"""Where a symbol is read again: raw Parquet as far as live data goes in it, and beyond what only its tape has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from market.clock import DAY_NS, SECOND_NS
from market.events import TRADE, Events, empty_events, mark_message
from market.instruments import Instrument
from storage.raw.manifest import Backfill
from storage.raw.parquet import PartWriter, write_events
from storage.raw.raw_data import RawData
from storage.raw.streams import backfill_seq
from training_sets.rebuild.raw_history import RawHistory

BTC = Instrument("BTCUSDT", 2, 3)
DAY = 20_000


def trade(seq: int, second: int) -> Events:
    records = empty_events(1)
    records["event_ns"] = records["recv_ns"] = DAY * DAY_NS + second * SECOND_NS
    records["seq"], records["px"], records["qty"], records["kind"] = seq, 100, 5, TRADE
    return mark_message(records)


@pytest.fixture
def raw(tmp_path: Path) -> RawData:
    write_events(tmp_path, BTC, np.concatenate([trade(1, 10), trade(2, 20)]), part="live")
    with PartWriter(tmp_path, BTC, part="backfill-trades", decoder_version=1, provenance="backfill") as writer:
        writer.append(trade(backfill_seq("trades", DAY), 60))
        writer.commit(backfill=Backfill(data_type="trades", source="archive", filled=()))
    return RawData(tmp_path)


def test_what_was_backfilled_after_live_data_does_not_stand_for_the_tape(raw: RawData) -> None:
    opened: list[str] = []

    @contextmanager
    def open_whole(symbol: str) -> Iterator[RawData]:
        opened.append(symbol)
        yield raw

    history = RawHistory(raw, open_whole)
    for second, expected in ((20, 0), (21, 1), (60, 2)):
        with history.until("BTCUSDT", DAY * DAY_NS + second * SECOND_NS):
            assert len(opened) == expected
    with history.until("ETHUSDT", 0):
        assert opened == ["BTCUSDT", "BTCUSDT", "ETHUSDT"]
