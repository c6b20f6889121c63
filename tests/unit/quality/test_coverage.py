"""The certificate finds exactly what was taken away."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any, Final

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, format_iso
from market.events import CONTROL, KLINE, SNAPSHOT, START, TICKER, TRADE, Events
from quality.coverage import CoverageTally
from quality.coverage_document import coverage_document, day_picture, listed_holes
from tests.holed_markets import (
    BEGIN_NS,
    BOOK_STEP_NS,
    BOOKS,
    END_NS,
    MINUTES,
    TICKER_STEP_NS,
    TRADES_A_MINUTE,
    Planted,
    heads,
    market,
    planted,
    runs,
)

CHOSEN: Final = load_registry_version("1.1.0").feature_set


def certificate(books: Events, others: Events, *, begin_ns: int = BEGIN_NS, end_ns: int = END_NS) -> dict[str, Any]:
    tally = CoverageTally(begin_ns, end_ns)
    tally.add_book(books)
    for piece in np.array_split(others, 3):
        tally.add_market(piece)
    streams: dict[str, Any] = coverage_document("BTCUSDT", tally, CHOSEN, begin_ns=begin_ns, end_ns=end_ns)["streams"]
    return streams


def minute_ranges(minutes: set[int]) -> list[tuple[str, str]]:
    starts = sorted(minutes)
    firsts = [at for at in starts if at - 1 not in minutes]
    lasts = [at for at in starts if at + 1 not in minutes]
    return [
        (format_iso(BEGIN_NS + first * MINUTE_NS), format_iso(BEGIN_NS + (last + 1) * MINUTE_NS))
        for first, last in zip(firsts, lasts, strict=True)
    ]


def ranges(stream: dict[str, Any], evidence: str) -> list[tuple[str, str]]:
    return [(each["from"], each["to"]) for each in stream["missing"] if each["evidence"] == evidence]


def check_a_mutilation(seed: int) -> None:
    taken = planted(Random(seed))  # no secret
    found = certificate(*market(taken))
    told = [each["update_ids"] for each in found["orderbook"]["missing"]]
    assert told == [[1000 + first, 1000 + last] for first, last in taken.books], seed
    times = [
        (format_iso(BEGIN_NS + (first - 1) * BOOK_STEP_NS), format_iso(BEGIN_NS + (last + 1) * BOOK_STEP_NS))
        for first, last in taken.books
    ]
    assert ranges(found["orderbook"], "update ids") == times, seed
    assert found["orderbook"]["expected"] == BOOKS, seed
    assert found["orderbook"]["held"] == BOOKS - sum(last + 1 - first for first, last in taken.books), seed
    assert ranges(found["klines"], "minutes") == minute_ranges(taken.candles), seed
    assert found["klines"]["held"] == MINUTES - len(taken.candles), seed
    assert ranges(found["trades"], "volume of the candle") == minute_ranges(taken.trades - taken.candles), seed
    assert found["trades"]["held"] == MINUTES - len(taken.trades - taken.candles), seed
    unproven = [(each["from"], each["to"]) for each in found["trades"]["not_proven"]]
    assert unproven == minute_ranges(taken.candles), seed
    times = [
        (format_iso(BEGIN_NS + (first - 1) * TICKER_STEP_NS), format_iso(BEGIN_NS + (last + 1) * TICKER_STEP_NS))
        for first, last in taken.tickers
    ]
    assert ranges(found["ticker"], "heartbeat") == times, seed
    planted_ranges = (
        len(taken.books)
        + len(taken.tickers)
        + len(minute_ranges(taken.candles))
        + len(minute_ranges(taken.trades - taken.candles))
    )
    assert sum(len(stream["missing"]) for stream in found.values()) == planted_ranges, seed


@pytest.mark.parametrize("seed", range(60))
def test_the_certificate_is_exactly_what_was_taken_away(seed: int) -> None:
    check_a_mutilation(seed)


@pytest.mark.soak
def test_a_thousand_certificates_are_exactly_what_was_taken_away() -> None:
    for seed in range(1000, 2000):
        check_a_mutilation(seed)


def test_a_hole_tells_until_when_it_makes_the_features_of_its_stream_unknown() -> None:
    found = certificate(*market(Planted(books=[(100, 119)], candles={7})))
    [book] = found["orderbook"]["missing"]
    assert book["messages"] == 20
    # No snapshot repairs it: the book is broken until the end, and its windows for longer.
    assert book["unknown_from"] == format_iso(BEGIN_NS + 120 * BOOK_STEP_NS)
    assert set(book["unknown_until"]) >= {"price", "orderbook"}
    assert "technical" not in book["unknown_until"]
    assert all(until > format_iso(END_NS) for until in book["unknown_until"].values())
    [candle] = found["klines"]["missing"]
    assert set(candle["unknown_until"]) == {"technical"}
    assert candle["unknown_until"]["technical"] == format_iso(BEGIN_NS + 8 * MINUTE_NS + 1441 * MINUTE_NS)


def test_trades_that_are_missing_without_a_mark_were_computed_without() -> None:
    books, others = market(Planted(trades={7}))
    [trade] = certificate(books, others)["trades"]["missing"]
    assert (trade["unknown_until"], trade["computed_without"]) == ({}, ["orderflow"])
    mark = heads(1, CONTROL, BEGIN_NS + 7 * MINUTE_NS + SECOND_NS)
    mark["field"], mark["px"] = START, TRADE
    [trade] = certificate(books, np.concatenate([others, mark]))["trades"]["missing"]
    assert (set(trade["unknown_until"]), trade["computed_without"]) == ({"orderflow"}, [])


def test_without_any_trade_order_flow_is_unknown_and_not_computed_without() -> None:
    books, others = market(Planted())
    [trade] = certificate(books, others[others["kind"] != TRADE])["trades"]["missing"]
    assert (trade["from"], trade["to"]) == (format_iso(BEGIN_NS), format_iso(END_NS))
    assert (set(trade["unknown_until"]), trade["computed_without"]) == ({"orderflow"}, [])


def test_a_snapshot_after_a_mark_says_that_nobody_knows_how_many_are_missing_and_the_next_id_that_none_is() -> None:
    books, others = market(Planted())
    mark = heads(1, CONTROL, BEGIN_NS + 100 * BOOK_STEP_NS + 1)
    mark["field"] = START
    assert certificate(np.concatenate([books[:101], mark, books[101:]]), others)["orderbook"]["missing"] == []
    after = books[200:].copy()
    after["flags"][0] |= SNAPSHOT
    [hole] = certificate(np.concatenate([books[:101], mark, after]), others)["orderbook"]["missing"]
    assert (hole["messages"], hole["evidence"]) == (None, "mark before a snapshot")
    assert (hole["from"], hole["to"]) == tuple(format_iso(BEGIN_NS + at * BOOK_STEP_NS) for at in (100, 200))


def test_days_are_told_apart_and_what_was_backfilled_from_what_was_lived() -> None:
    books, others = market(Planted(candles={0, 1, 2}))
    found = certificate(books, others)
    assert [day["date"] for day in found["klines"]["days"]] == ["2026-03-01", "2026-03-02"]
    assert [(day["expected"], day["held"]) for day in found["klines"]["days"]] == [(30, 27), (30, 30)]
    assert [day["messages_live"] for day in found["klines"]["days"]] == [27, 30]
    assert day_picture(found)["klines"] == "▓█"
    old = certificate(*market(Planted(), is_backfilled=True))
    assert (old["klines"]["messages_live"], old["klines"]["messages_backfilled"]) == (0, MINUTES)


def test_holes_with_one_message_between_them_are_listed_as_one() -> None:
    books, others = market(Planted())
    tickers = np.flatnonzero(others["kind"] == TICKER)
    is_settled = np.isin(others["recv_ns"][tickers], BEGIN_NS + np.arange(0, MINUTES, 15) * MINUTE_NS)
    others = np.delete(others, tickers[~is_settled])
    times = [format_iso(BEGIN_NS + minute * MINUTE_NS) for minute in range(0, MINUTES, 15)]
    found = certificate(books, others)
    assert ranges(found["ticker"], "heartbeat") == [*itertools.pairwise(times)], "each of them stays known"
    [listed, last] = [hole for name, hole in listed_holes(found) if name == "ticker"]
    assert (listed["from"], listed["to"], listed["evidence"]) == (times[0], times[-1], "heartbeat, 3 in a row")
    assert last["evidence"] == "after the last message"
    mark = others[:1].copy()
    mark["kind"], mark["field"], mark["px"], mark["recv_ns"] = CONTROL, START, TICKER, BEGIN_NS + MINUTE_NS
    marked = listed_holes({"ticker": certificate(books, np.concatenate([others, mark]))["ticker"]})
    assert [(hole["to"], bool(hole["unknown_until"])) for _, hole in marked[:2]] == [
        (times[1], True),
        (times[3], False),
    ]
    lost = listed_holes({"orderbook": certificate(*market(Planted(books=[(3, 4), (6, 6)])))["orderbook"]})
    assert [(hole["messages"], hole["evidence"]) for _, hole in lost] == [(3, "update ids, 2 in a row")]


def test_before_the_first_and_after_the_last_message_everything_is_missing() -> None:
    books, others = market(Planted())
    begin_ns, end_ns = BEGIN_NS - DAY_NS, END_NS + DAY_NS
    found = certificate(books, others, begin_ns=begin_ns, end_ns=end_ns)
    for name, evidence in (("orderbook", "first message"), ("ticker", "last message")):
        assert any(each["evidence"].endswith(evidence) for each in found[name]["missing"])
    assert found["klines"]["held"] == MINUTES
    assert found["klines"]["missing"][0]["from"] == format_iso(begin_ns)
    assert found["trades"]["held"] == MINUTES
    assert day_picture(found)["orderbook"] == " ░░ "
    nothing = certificate(books[:0], others[:0])
    assert [each["evidence"] for each in nothing["orderbook"]["missing"]] == ["nothing is held"]
    assert day_picture(nothing) == dict.fromkeys(("orderbook", "trades", "klines", "ticker"), "  ")


def numbered(random: Random, *, is_shuffled: bool) -> tuple[Events, list[tuple[int, int]]]:
    """An hour of trades of a venue that numbers them, and the numbers that are missing: first and last."""
    _, others = market(Planted())
    trades = others["kind"] == TRADE
    others["update_id"][trades] = 5000 + np.arange(trades.sum())
    lost = runs(random, int(trades.sum()), most=4, shortest=1, longest=10)
    taken = {5000 + at for first, last in lost for at in range(first, last + 1)}
    others = others[~(trades & np.isin(others["update_id"], list(taken)))]
    if is_shuffled:
        of_trades = np.flatnonzero(others["kind"] == TRADE)
        late = of_trades[len(of_trades) // 2]
        # One comes after ten that follow it.
        others[late : late + 10] = np.roll(others[late : late + 10], -1)
    return others, [(5000 + first, 5000 + last) for first, last in lost]


@pytest.mark.parametrize("seed", range(20))
def test_trades_that_the_venue_numbers_are_certified_by_their_numbers(seed: int) -> None:
    books, _ = market(Planted())
    others, lost = numbered(Random(seed), is_shuffled=seed % 2 == 1)  # no secret
    found = certificate(books, others)["trades"]
    assert (found["unit"], found["certified_by"]) == ("trades", "trade numbers")
    assert [tuple(each["trade_numbers"]) for each in found["missing"]] == lost
    missing = sum(last + 1 - first for first, last in lost)
    assert (found["expected"], found["held"]) == (MINUTES * TRADES_A_MINUTE, MINUTES * TRADES_A_MINUTE - missing)
    assert [each["messages"] for each in found["missing"]] == [last + 1 - first for first, last in lost]


def test_each_range_that_is_held_says_whether_it_was_lived_or_backfilled() -> None:
    books, others = market(Planted(books=[(100, 119)], candles={7}))
    is_old = (others["kind"] == KLINE) & (others["update_id"] < BEGIN_NS + 20 * MINUTE_NS)
    is_old |= (others["kind"] == TICKER) & (others["recv_ns"] < BEGIN_NS + 20 * MINUTE_NS)
    others["seq"][is_old] -= 1 << 40
    found = certificate(books, others)

    def held(stream: str) -> list[tuple[str, str, str]]:
        return [(each["from"], each["to"], each["source"]) for each in found[stream]["held_ranges"]]

    def minute(at: int) -> str:
        return format_iso(BEGIN_NS + at * MINUTE_NS)

    assert held("klines") == [
        (minute(0), minute(7), "backfilled"),
        (minute(8), minute(20), "backfilled"),
        (minute(20), minute(MINUTES), "live"),
    ]
    assert [source for _, _, source in held("ticker")] == ["backfilled", "live"]
    first, second = held("orderbook")
    assert (first[1], second[0]) == tuple(format_iso(BEGIN_NS + at * BOOK_STEP_NS) for at in (99, 120))


def test_what_a_hole_makes_unknown_is_told_by_feature_with_for_how_long() -> None:
    found = certificate(*market(Planted()))
    trades = found["trades"]["unknown_for_s"]
    assert trades["vwap_3s"] == 3
    assert trades["vwap_5m" if "vwap_5m" in trades else "vwap_1m"] > trades["vwap_3s"]
    assert "mid_price" in found["orderbook"]["unknown_for_s"]
    assert "mid_price" not in trades
