"""A day of history: in raw Parquet as if it had arrived, beside live data and never over it."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from backfill import days
from backfill.days import DayDone, backfill_day, standing
from backfill.fetching import Place
from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, ManualClock, parse_iso_ns
from market.errors import CorruptStore, RejectedMessage, StoreUnavailable
from market.events import KLINE_FIELD_COUNT, TICKER, Events
from storage.instruments import InstrumentPins
from storage.raw.events import stream_heads
from storage.raw.manifest import entry_path
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from tests.backfilled_days import BEGIN_NS, DAY, DOGE, archive_with, stored
from tests.bybit_rest import BybitHistoryServer, Failure

UPSIDE_DOWN: Final = (
    b'{"retCode": 0, "time": 4398046511104, "result": {"list": [["1748649600000", "1", "2", "3", "4", "5", "6"]]}}'
)
"""A candle whose low is above its high."""


def test_a_day_of_candles_is_what_the_exchange_has_known_a_second_after_its_end(place: Place) -> None:
    done = backfill_day(place, DAY)
    events = stored(place)
    assert done == DayDone(is_stored=True, messages=1440, filled=((BEGIN_NS, BEGIN_NS + DAY_NS),))
    assert len(events) == 1440 * KLINE_FIELD_COUNT
    opens = events[events["field"] == 0]
    assert np.array_equal(opens["update_id"], BEGIN_NS + np.arange(1440) * MINUTE_NS)
    assert np.array_equal(opens["recv_ns"], opens["update_id"] + MINUTE_NS + SECOND_NS)
    [part] = RawData(place.raw_folder).parts(DOGE)
    assert part.backfill is not None
    assert part.backfill.is_whole


def test_a_whole_day_is_not_fetched_again_and_the_same_answers_give_the_same_bytes(
    place: Place, server: BybitHistoryServer, tmp_path: Path
) -> None:
    backfill_day(place, DAY)
    before = len(server.asked)
    assert not backfill_day(place, DAY).is_stored
    assert len(server.asked) == before
    elsewhere = replace(place, raw_folder=tmp_path / "other", instruments=InstrumentPins(tmp_path / "other"))
    backfill_day(elsewhere, DAY)
    assert RawData(place.raw_folder).parts(DOGE) == RawData(elsewhere.raw_folder).parts(DOGE)


def test_a_day_that_is_not_over_is_fetched_again(place: Place, server: BybitHistoryServer) -> None:
    clock = ManualClock(BEGIN_NS + 10 * 60 * MINUTE_NS + 5 * SECOND_NS)
    server.now_ms, now_ms = clock.now_ns() // 10**6, server.now_ms
    done = backfill_day(replace(place, clock=clock), DAY)
    server.now_ms = now_ms
    assert done.filled == ((BEGIN_NS, BEGIN_NS + 600 * MINUTE_NS),)
    assert backfill_day(place, DAY).filled == ((BEGIN_NS, BEGIN_NS + DAY_NS),)
    assert len(stored(place)) == 1440 * KLINE_FIELD_COUNT


def write_live(place: Place, minutes: range) -> Events:
    """A tape that holds some minutes, told apart from history by their volume."""
    backfill_day(place, DAY)
    events = stored(place)
    starts = BEGIN_NS + np.array(minutes) * MINUTE_NS
    live = events[np.isin(events["update_id"], starts)].copy()
    live["seq"] = 1 + np.repeat(np.arange(len(minutes)), KLINE_FIELD_COUNT)
    live["px"][live["field"] == 4] = 7
    shutil.rmtree(place.raw_folder / "manifest")
    instrument = place.instruments.get(DOGE)
    assert instrument is not None
    write_events(place.raw_folder, instrument, live, part="live")
    return live


def test_live_minutes_are_left_as_they_are_and_only_holes_are_filled(place: Place) -> None:
    live = write_live(place, range(100, 700))
    done = backfill_day(place, DAY)
    held = (BEGIN_NS + 100 * MINUTE_NS, BEGIN_NS + 700 * MINUTE_NS)
    assert done.held == (held,)
    assert done.filled == ((BEGIN_NS, held[0]), (held[1], BEGIN_NS + DAY_NS))
    events = stored(place)
    assert len(events) == 1440 * KLINE_FIELD_COUNT
    assert np.array_equal(events[events["seq"] > 0], live)
    assert np.array_equal(np.unique(events["update_id"]), BEGIN_NS + np.arange(1440) * MINUTE_NS)


def test_candles_that_a_starting_worker_asked_for_do_not_keep_the_time_before_it_from_being_filled(
    place: Place,
) -> None:
    live = write_live(place, range(100, 700))
    shutil.rmtree(place.raw_folder / "manifest")
    late = live.copy()
    start_ns = BEGIN_NS + 700 * MINUTE_NS
    late["recv_ns"] = np.where(late["update_id"] < start_ns - 10 * MINUTE_NS, start_ns, late["recv_ns"])
    late = late[np.argsort(late["recv_ns"], kind="stable")]
    late["seq"] = 1 + np.repeat(np.arange(600), KLINE_FIELD_COUNT)
    instrument = place.instruments.get(DOGE)
    assert instrument is not None
    write_events(place.raw_folder, instrument, late, part="live")
    assert backfill_day(place, DAY).held == ((start_ns - 10 * MINUTE_NS, start_ns),)


def test_a_day_that_live_data_holds_is_not_even_asked_for(place: Place, server: BybitHistoryServer) -> None:
    write_live(place, range(1440))
    before = len(server.asked)
    assert backfill_day(place, DAY) == DayDone(is_stored=False, held=((BEGIN_NS, BEGIN_NS + DAY_NS),))
    assert len(server.asked) == before


def test_holes_that_the_exchange_has_are_known_by_their_minutes(place: Place, server: BybitHistoryServer) -> None:
    known = server.symbols[DOGE]
    hole = range(BEGIN_NS + 300 * MINUTE_NS, BEGIN_NS + 305 * MINUTE_NS, MINUTE_NS)
    whole, known.klines = known.klines, [row for row in known.klines if int(row[0]) * 10**6 not in hole]
    try:
        done = backfill_day(place, DAY)
    finally:
        known.klines = whole
    assert done.lacking == ((hole.start, hole.stop),)
    assert done.messages == 1435


def test_candles_that_the_exchange_does_not_have_are_made_of_archived_trades_and_the_others_compared(
    place: Place, server: BybitHistoryServer, tmp_path: Path
) -> None:
    known = server.symbols[DOGE]
    hole = range(BEGIN_NS + 300 * MINUTE_NS, BEGIN_NS + 303 * MINUTE_NS, MINUTE_NS)
    [before] = [row for row in known.klines if int(row[0]) * 10**6 == hole.start - MINUTE_NS]
    header = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    traded = [(299 * 60 + 1, "0.5", "7"), (300 * 60 + 1, "0.25", "3"), (300 * 60 + 30, "0.125", "2")]
    lines = [f"{BEGIN_NS // SECOND_NS + at},{DOGE},Buy,{size},{price},x,id-{at},1,1,1" for at, price, size in traded]
    archive = archive_with(tmp_path, gzip.compress("\n".join([header, *lines]).encode()))
    whole, known.klines = known.klines, [row for row in known.klines if int(row[0]) * 10**6 not in hole]
    try:
        done = backfill_day(replace(place, trades=archive), DAY)
    finally:
        known.klines = whole
    assert done.made == ((hole.start, hole.start + MINUTE_NS),)
    assert done.lacking == ((hole.start + MINUTE_NS, hole.stop),)
    assert done.messages == 1438
    [part] = RawData(place.raw_folder).parts(DOGE)
    assert part.backfill is not None
    assert part.backfill.made == done.made
    events = stored(place)
    made = events[events["update_id"] == hole.start]
    instrument = place.instruments.get(DOGE)
    assert instrument is not None
    price, quantity = 10**instrument.price_exponent, 10**instrument.quantity_exponent
    first, close = round(float(before[4]) * price), price // 8
    prices = [first, max(first, price // 4), min(first, close), close]
    assert made["px"].tolist() == [*prices, 5 * quantity, 10**instrument.turnover_exponent]
    assert (made["recv_ns"] == hole.start + MINUTE_NS + SECOND_NS).all()
    assert done.compared is not None
    assert (done.compared["compared"], done.compared["without_candle"]) == (1437, 3)
    volumes = [each for each in done.compared["first"] if each["what"] == "candle's volume"]
    assert volumes[0]["messages"] == ["exchange", "no trade"]


def test_before_an_instrument_was_listed_nothing_is_stored_and_all_of_it_is_lacking(place: Place) -> None:
    done = backfill_day(place, replace(DAY, day="2025-05-01"))
    assert done == DayDone(is_stored=False, lacking=((parse_iso_ns("2025-05-01"), parse_iso_ns("2025-05-02")),))
    assert RawData(place.raw_folder).parts(DOGE) == []


def test_funding_and_prices_become_what_a_ticker_says(place: Place) -> None:
    backfill_day(place, DAY)
    backfill_day(place, replace(DAY, data_type="funding"))
    done = backfill_day(place, replace(DAY, data_type="ticker"))
    assert done.messages == 1441  # open interest at midnight, then every minute's end
    events = stored(place)
    tickers = events[events["kind"] == TICKER]
    rates = tickers[tickers["field"] == 0]
    assert set(rates["px"].tolist()) == {10**8}
    # Restated each half hour, so that a row, which looks back for an hour, knows it all day.
    assert ((rates["recv_ns"] - BEGIN_NS) // (1800 * SECOND_NS)).tolist() == list(range(48))
    following = tickers["px"][tickers["field"] == 1]
    assert np.unique(following).tolist() == [BEGIN_NS + hours * 3600 * SECOND_NS for hours in (8, 16, 24)]
    assert len(tickers[tickers["field"] == 2]) == 288


def test_a_settlement_that_is_missing_leaves_funding_unknown_until_the_next(
    place: Place, server: BybitHistoryServer
) -> None:
    known = server.symbols[DOGE]
    whole, known.fundings = known.fundings, [known.fundings[0], known.fundings[2]]
    try:
        backfill_day(place, replace(DAY, data_type="funding"))
    finally:
        known.fundings = whole
    rates = stored(place)
    hours = (rates["recv_ns"][rates["field"] == 0] - BEGIN_NS) // (3600 * SECOND_NS)
    assert sorted(set(hours.tolist())) == [*range(8), *range(16, 24)]


@pytest.mark.parametrize(
    ("failure", "error"),
    [(Failure(400, b"no"), StoreUnavailable), (Failure(200, UPSIDE_DOWN), RejectedMessage)],
)
def test_what_cannot_be_fetched_or_decoded_leaves_the_day_as_it_was(
    place: Place, server: BybitHistoryServer, *, failure: Failure, error: type[Exception]
) -> None:
    server.failures.append(failure)
    with pytest.raises(error):
        backfill_day(place, DAY)
    assert standing(place.raw_folder, DAY) is None
    assert list(place.raw_folder.rglob("*.parquet")) == []


def test_a_part_that_is_not_read_back_as_written_is_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_one(*arguments: object, **named: object) -> Iterator[Events]:
        for heads in stream_heads(*arguments, **named):  # type: ignore[arg-type]  # passed on as given
            yield heads[:-1]

    monkeypatch.setattr(days, "stream_heads", lose_one)
    with pytest.raises(CorruptStore, match="must be read back as 1440 messages"):
        backfill_day(place, DAY)
    assert not entry_path(place.raw_folder, DOGE, DAY.part).exists()
    assert RawData(place.raw_folder).symbols() == []
    assert list(place.raw_folder.rglob("*.parquet")) == []
