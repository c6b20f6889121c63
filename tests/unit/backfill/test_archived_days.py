"""Days of archives: trades and order books, and what stands in for a day that has no file yet."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from backfill.days import backfill_day, standing
from backfill.fetching import Place, SymbolDay
from backfill.missing_days import MissingDays
from market.clock import SECOND_NS, ManualClock
from market.errors import NotFound, UnreadableRecording
from market.events import CONTROL, GAP, KLINE, ORDERBOOK, START, TRADE
from storage.raw.raw_data import RawData
from tests.archived_files import write_book
from tests.backfilled_days import BEGIN_NS, DAY, DOGE, archive_with, stored
from tests.bybit_rest import BybitHistoryServer
from tests.engines import Backwards

XRP_BOOK: Final = SymbolDay("XRPUSDT", "orderbook", "2024-12-01")


SIDES: Final = ("Buy", "Sell")


def test_an_order_book_of_the_archive_ends_with_a_gap(place: Place) -> None:
    done = backfill_day(place, XRP_BOOK)
    events = stored(place, "XRPUSDT")
    assert done.messages == 51
    assert len(np.unique(events["seq"][events["kind"] == ORDERBOOK])) == 50
    assert events[-1]["kind"] == CONTROL
    assert events[-1]["field"] == GAP


def trades_csv(*, newest_first: bool, count: int = 50) -> bytes:
    begin_s = BEGIN_NS // SECOND_NS
    lines = [
        f"{begin_s + at // 2}.{at % 2 * 5}123,{DOGE},{SIDES[at % 2]},{10 + at},0.2{at:02d},x,id-{at},1,1,1"
        for at in range(count)
    ]
    header = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    return gzip.compress("\n".join([header, *(lines[::-1] if newest_first else lines)]).encode())


@pytest.mark.parametrize("newest_first", [False, True])
def test_trades_of_the_archive_come_in_order_of_time_and_begin_a_history(
    place: Place, tmp_path: Path, *, newest_first: bool
) -> None:
    asked = replace(DAY, data_type="trades")
    backfill_day(replace(place, trades=archive_with(tmp_path, trades_csv(newest_first=newest_first))), asked)
    events = stored(place)
    assert events[0]["kind"] == CONTROL
    assert events[0]["field"] == START
    trades = events[1:]
    instrument = place.instruments.get(DOGE)
    assert instrument is not None
    assert trades["qty"].tolist() == [(10 + at) * 10**instrument.quantity_exponent for at in range(50)]
    assert (np.diff(trades["recv_ns"]) > 0).all()


def test_a_file_that_breaks_off_or_is_not_there_leaves_nothing_behind(place: Place, tmp_path: Path) -> None:
    asked = replace(DAY, data_type="trades")
    broken = replace(place, trades=archive_with(tmp_path, trades_csv(newest_first=False)[:-30]))
    with pytest.raises(UnreadableRecording, match="to its end"):
        backfill_day(broken, asked)
    with pytest.raises(NotFound, match=r"DOGEUSDT2025-05-31\.csv\.gz"):
        backfill_day(place, asked)
    assert RawData(place.raw_folder).parts(DOGE) == []
    assert list(place.raw_folder.rglob("*.parquet")) == []


RECENT: Final = [
    {"execId": f"r-{at}", "symbol": DOGE, "price": "0.2", "size": "5", "side": "Buy", "time": str(at_ms)}
    for at, at_ms in enumerate((BEGIN_NS // 10**6 + seconds * 1000 for seconds in (7200, 7200, 3600, -5)), start=1)
]
"""Newest first; two of one moment, and one of the day before."""


def today(place: Place, server: BybitHistoryServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The place two hours into DAY, when the archives have no file of it."""
    book = {"s": DOGE, "b": [["0.2", "7"]], "a": [["0.3", "8"]], "ts": BEGIN_NS // 10**6 + 7_200_300, "u": 9, "seq": 99}
    monkeypatch.setattr(server.symbols[DOGE], "recent", RECENT)
    monkeypatch.setattr(server.symbols[DOGE], "book", book)
    return replace(place, clock=ManualClock(BEGIN_NS + 2 * 3600 * SECOND_NS + 5 * SECOND_NS))


def test_of_today_the_newest_trades_stand_in_until_the_archive_has_the_day(
    place: Place, server: BybitHistoryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, now = replace(DAY, data_type="trades"), today(place, server, monkeypatch)
    done = backfill_day(now, asked)
    hour_ns = 3600 * SECOND_NS
    assert done.is_substitute
    assert done.filled == ((BEGIN_NS + hour_ns, BEGIN_NS + 2 * hour_ns + 1),)
    assert done.lacking == ((BEGIN_NS, BEGIN_NS + hour_ns),)
    events = stored(place)
    assert events["kind"].tolist() == [CONTROL, TRADE, TRADE, TRADE]
    assert events[0]["recv_ns"] == events[1]["recv_ns"], "nothing is known before the first of them"
    [part] = RawData(place.raw_folder).parts(DOGE)
    assert part.backfill is not None
    assert part.backfill.is_substitute
    assert part.backfill.source.endswith("recent-trade")
    whole = replace(place, trades=archive_with(tmp_path, trades_csv(newest_first=False)))
    assert not backfill_day(whole, asked).is_substitute
    assert len(stored(place)) == 51, "the file took its place"


def test_of_today_the_present_order_book_is_known_to_one_row(
    place: Place, server: BybitHistoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, now = replace(DAY, data_type="orderbook"), today(place, server, monkeypatch)
    done = backfill_day(now, asked)
    assert done.is_substitute
    assert len(done.filled) == 1
    events = stored(place)
    assert events["kind"].tolist() == [ORDERBOOK, ORDERBOOK, CONTROL]
    assert events[-1]["field"] == GAP
    assert events[-1]["recv_ns"] == BEGIN_NS + 7201 * SECOND_NS


@pytest.mark.parametrize("data_type", ["trades", "orderbook"])
def test_nothing_stands_in_for_a_day_that_is_over_or_where_it_is_not_wanted(
    place: Place, server: BybitHistoryServer, monkeypatch: pytest.MonkeyPatch, *, data_type: str
) -> None:
    asked, now = replace(DAY, data_type=data_type), today(place, server, monkeypatch)
    with pytest.raises(NotFound):
        backfill_day(now, asked, takes_substitute=False)
    with pytest.raises(NotFound):
        backfill_day(place, asked)
    with pytest.raises(NotFound):  # what is newest is of another day
        backfill_day(now, replace(asked, day="2025-06-01"))
    assert RawData(place.raw_folder).parts(DOGE) == []


def test_trades_of_spot_are_read_from_its_own_files(place: Place, tmp_path: Path) -> None:
    lines = [f"{at},{BEGIN_NS // 10**6 + 500 * at},0.2,{10 + at},{SIDES[at % 2].lower()},0" for at in range(50)]
    folder = tmp_path / "spot" / DOGE
    folder.mkdir(parents=True)
    text = "\n".join(["id,timestamp,price,volume,side,rpi", *lines])
    (folder / f"{DOGE}_2025-05-31.csv.gz").write_bytes(gzip.compress(text.encode()))
    done = backfill_day(replace(place, trades=str(tmp_path / "spot")), replace(DAY, data_type="trades"))
    assert done.messages == 51


def test_a_file_of_another_symbol_is_refused(place: Place, tmp_path: Path) -> None:
    content = gzip.compress(gzip.decompress(trades_csv(newest_first=False)).replace(b",DOGEUSDT,", b",SHIBUSDT,"))
    with pytest.raises(UnreadableRecording, match="symbol must be DOGEUSDT, was SHIBUSDT"):
        backfill_day(replace(place, trades=archive_with(tmp_path, content)), replace(DAY, data_type="trades"))


def test_a_dataset_build_has_order_books_of_several_days_decoded_by_its_engine(place: Place, tmp_path: Path) -> None:
    days, engine = ["2025-05-31", "2025-06-01"], Backwards()
    for day in days:
        write_book(tmp_path / "archive", DOGE, day)
    from_archive = replace(place, orderbook=str(tmp_path / "archive"), engine=engine)
    filler = MissingDays(lambda _wait: from_archive, place.clock, most_days=2)
    shares: list[float] = []
    assert filler.fill(DOGE, days, {KLINE, ORDERBOOK}, on_progress=shares.append) == {}
    assert [task.asked.day for task in engine.given] == days[::-1]
    assert [shares[0], *shares[-1:]] == [0.0, 0.75]
    for day in days:
        known = standing(place.raw_folder, SymbolDay(DOGE, "orderbook", day))
        assert known is not None
        assert known.is_whole
