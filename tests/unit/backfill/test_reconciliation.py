"""A day that was lived against the archives: whole it agrees, and each thing planted is found and named."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from backfill.bybit.rest import BybitHistory
from backfill.fetching import Place
from backfill.reconciliation import DayReconciliation
from ingestion.tape.compaction import compact_tape
from market.clock import MILLISECOND_NS, ManualClock, parse_iso_ns
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter
from tests.bybit_rest import BybitHistoryServer, History

SYMBOL: Final = "BTCUSDT"
DATE: Final = "2026-01-05"
BEGIN_NS: Final = parse_iso_ns(DATE)
BEGIN_MS: Final = BEGIN_NS // MILLISECOND_NS
MINUTES: Final = 3
Document = dict[str, Any]


@dataclass
class Day:
    """What the exchange did: trades, order book messages and candles in its own words, and the settled rate."""

    trades: list[Document] = field(default_factory=list)
    books: list[Document] = field(default_factory=list)
    candles: list[Document] = field(default_factory=list)
    rate: str = "0.0001"


def day() -> Day:
    """Three minutes at midnight, with a settlement at the end of the second."""
    made = Day()
    for at in range(MINUTES * 6):
        made.trades.append(
            {
                "T": BEGIN_MS + at * 10_000 + 1,
                "s": SYMBOL,
                "S": "Buy" if at % 2 else "Sell",
                "v": f"0.0{at + 1:02d}",
                "p": f"{60_000 + at}.5",
                "i": f"id-{at}",
            }
        )
        made.books.append(
            {
                "s": SYMBOL,
                "b": [["60000.5", f"1.{at:02d}"], ["60000", "2"]],
                "a": [["60001", f"3.{at:02d}"]],
                "u": 100 + at,
                "seq": 7000 + 3 * at,
            }
        )
    for minute in range(MINUTES):
        of_minute = made.trades[minute * 6 : minute * 6 + 6]
        prices = [each["p"] for each in of_minute]
        start = BEGIN_MS + minute * 60_000
        made.candles.append(
            {
                "start": start,
                "end": start + 59_999,
                "interval": "1",
                # As the exchange has it: the close of the one before.
                "open": made.trades[minute * 6 - 1]["p"] if minute else prices[0],
                "high": max(prices),
                "low": min(prices),
                "close": prices[-1],
                "volume": f"{sum(round(float(each['v']) * 1000) for each in of_minute) / 1000:.3f}",
                "turnover": "1",
                "confirm": True,
                "timestamp": start + 60_000,
            }
        )
    made.candles[1]["low"] = made.candles[1]["open"]
    made.candles[2]["low"] = made.candles[2]["open"]
    return made


def message(topic: str, at_ms: int, content: object, *, kind: str = "delta") -> tuple[int, bytes]:
    body = {"topic": f"{topic}.{SYMBOL}", "type": kind, "ts": at_ms, "data": content}
    return at_ms * MILLISECOND_NS + 100 * MILLISECOND_NS, json.dumps(body).encode()


def book_kind(at: int) -> str:
    return "snapshot" if at == 0 else "delta"


def write_tape(folder: Path, lived: Day) -> None:
    """The day as a recorder had it, compacted."""
    messages = [message("publicTrade", each["T"], [each]) for each in lived.trades]
    messages += [
        message("orderbook.200", BEGIN_MS + at * 10_000, each, kind=book_kind(at))
        for at, each in enumerate(lived.books)
    ]
    messages += [message("kline.1", each["timestamp"] + 500, [each]) for each in lived.candles]
    messages.append(message("tickers", BEGIN_MS + 30_000, {"symbol": SYMBOL, "fundingRate": lived.rate}))
    pins = InstrumentPins(folder)
    pins.pin(SYMBOL, "60000.5")
    with TapeWriter(folder, SYMBOL) as writer:
        for recv_ns, body in sorted(messages):
            writer.append(recv_ns, body)
    compact_tape(folder, SYMBOL, pins)


def write_archive(folder: Path, old: Day) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    lines = [
        f"{each['T'] // 1000}.{each['T'] % 1000:03d}0,{SYMBOL},{each['S']},{each['v']},{each['p']},x,{each['i']},1,1,1"
        for each in old.trades
    ]
    (folder / f"{SYMBOL}{DATE}.csv.gz").write_bytes(gzip.compress("\n".join([header, *lines]).encode()))
    with zipfile.ZipFile(folder / f"{DATE}_{SYMBOL}_ob500.data.zip", "w") as archive:
        books = [
            {
                "topic": f"orderbook.500.{SYMBOL}",
                "type": book_kind(at),
                "ts": BEGIN_MS + at * 10_000,
                # Another depth has update ids of its own; the number is one.
                "data": {**each, "u": 900_000 + at},
            }
            for at, each in enumerate(old.books)
        ]
        archive.writestr("day.data", "".join(json.dumps(each) + "\n" for each in books))


@pytest.fixture(scope="module")
def server() -> Iterator[BybitHistoryServer]:
    fundings = [(str(BEGIN_MS + 120_000), "0.0001")]
    with BybitHistoryServer({SYMBOL: History(fundings=fundings)}) as running:
        yield running


Reconcile = Callable[[Day], Document]


@pytest.fixture
def reconcile(server: BybitHistoryServer, tmp_path: Path) -> Iterator[Reconcile]:
    """The report of a day that was lived, against the archive of ``day()``."""
    clock = ManualClock(parse_iso_ns("2026-01-07"))
    rest = BybitHistory(server.url, clock, delay_ms=0, sleep=lambda _seconds: None)
    archive = tmp_path / "archive"
    write_archive(archive, day())

    def run(lived: Day, *, archive: str = str(archive)) -> Document:
        raw = tmp_path / "raw"
        write_tape(raw, lived)
        place = Place(raw, InstrumentPins(raw), rest, archive, archive, clock)
        return DayReconciliation(place, lambda _symbol: nullcontext(RawData(raw))).of(SYMBOL, DATE)

    yield run
    rest.close()


def test_a_day_that_was_lived_whole_agrees_in_every_check(reconcile: Reconcile) -> None:
    found = reconcile(day())
    assert (found["agrees"], found["disagreements"], found["unchecked"]) == (True, [], {})
    assert found["checks"]["trades"]["compared"] == found["checks"]["trades"]["history"] == MINUTES * 6
    assert found["checks"]["klines"] == {
        "compared": MINUTES,
        "different": 0,
        "without_candle": 1440 - MINUTES,
        "disagreements": 0,
    }
    assert found["checks"]["orderbook"]["compared"] == MINUTES
    assert found["checks"]["funding"]["compared"] == 1
    assert (found["missing_rate"], found["anomaly_rate"]) == (0, 0)


def test_trades_that_are_missing_extra_or_different_are_named_with_both_values_and_their_messages(
    reconcile: Reconcile,
) -> None:
    lived = day()
    del lived.trades[3]
    lived.trades[5] = {**lived.trades[5], "v": "7.777"}
    lived.trades.append({**lived.trades[-1], "i": "never"})
    found = reconcile(lived)
    assert found["agrees"] is False
    counts = found["checks"]["trades"]
    assert (counts["missing"], counts["different"], counts["extra"]) == (1, 1, 1)
    assert found["missing_rate"] == 1 / (MINUTES * 6)
    missing, different, extra = [each for each in found["disagreements"] if each["check"] == "trades"]
    assert (missing["live"], "id id-3" in missing["messages"][0]) == (None, True)
    assert ("7.777 at" in different["live"], "0.007 at" in different["history"]) == (True, True)
    assert [each.partition(",")[0] for each in different["messages"]] == ["tape", f"archive {SYMBOL}{DATE}.csv.gz"]
    assert (extra["history"], "id never" in extra["messages"][0]) == (None, True)


@pytest.mark.parametrize(
    ("name", "value"), [("volume", "9.999"), ("high", "70000"), ("low", "1"), ("close", "60010.5")]
)
def test_a_candle_that_its_trades_do_not_make_is_named(reconcile: Reconcile, name: str, value: str) -> None:
    lived = day()
    lived.candles[1] = {**lived.candles[1], name: value}
    found = reconcile(lived)
    told = [each for each in found["disagreements"] if each["what"] == f"candle's {name}"]
    assert [float(each["live"]) for each in told] == [float(value)]
    assert told[0]["at"] == "2026-01-05T00:01:00Z"
    assert told[0]["messages"][0].startswith("tape, seq ")


def test_a_level_that_differs_is_named_until_the_book_agrees_again(reconcile: Reconcile) -> None:
    lived = day()
    lived.books[6] = {**lived.books[6], "b": [["60000.5", "1.07"], ["59999", "4"]]}
    found = reconcile(lived)
    # Compared at the snapshot and once a minute: the second level stays to the end.
    assert found["checks"]["orderbook"]["different"] == MINUTES - 1
    told = [(each["what"], each["live"], each["history"]) for each in found["disagreements"]]
    assert [(what, float(live or 0), float(old or 0)) for what, live, old in told] == [
        ("bid at 59999", 4, 0),
        ("bid at 60000.5", 1.07, 1.06),
        ("bid at 59999", 4, 0),
    ]


def test_a_book_that_lost_its_sequence_is_counted_and_not_compared(reconcile: Reconcile) -> None:
    lived = day()
    del lived.books[3]
    found = reconcile(lived)
    assert found["sequence_gaps"] == 1
    assert (found["checks"]["orderbook"]["compared"], found["checks"]["orderbook"]["different"]) == (1, 0)


def test_a_rate_that_was_not_the_settled_one_is_named(reconcile: Reconcile) -> None:
    [told] = reconcile(replace(day(), rate="0.0002"))["disagreements"]
    assert (told["check"], float(told["live"]), float(told["history"])) == ("funding", 0.0002, 0.0001)


def test_what_cannot_be_read_is_no_agreement_and_says_why(reconcile: Callable[..., Document], tmp_path: Path) -> None:
    found = reconcile(day(), archive=str(tmp_path / "nowhere"))
    assert found["agrees"] is None
    assert set(found["unchecked"]) == {"trades", "orderbook"}
    assert "must hold" in found["unchecked"]["trades"]
    # Candles are compared with the trades that are held.
    assert found["checks"]["klines"]["compared"] == MINUTES
    other = tmp_path / "other"
    strangers = day()
    for each in strangers.trades:
        each["i"] = f"other-{each['i']}"
    write_archive(other, strangers)
    found = reconcile(day(), archive=str(other))
    assert "different kinds of id" in found["unchecked"]["trades"]
