"""Holes of queues: what is marked while a queue is not read, when it is read again, and when another reads it."""

from __future__ import annotations

from typing import Final

import pytest

from ingestion.sources.gateway.holes import QueueHoles
from ingestion.venues.bybit.decode import Decoder
from market.clock import SECOND_NS
from market.events import GAP, ORDERBOOK, START, TICKER, TRADE
from tests.fed_engine import PinsInMemory

NOW_NS: Final = 1_772_000_000 * SECOND_NS
TOPICS: Final = {ORDERBOOK: "orderbook.50.BTCUSDT", TRADE: "publicTrade.BTCUSDT", TICKER: "tickers.BTCUSDT"}


def heard(*kinds: int) -> QueueHoles:
    holes = QueueHoles()
    for kind in kinds:
        holes.hear("queue", TOPICS[kind])
    return holes


def fields(marks: list[bytes]) -> list[tuple[int, int]]:
    """Field and kind of each mark."""
    decoder = Decoder(PinsInMemory())
    decoded = [decoder.decode(body) for body in marks]
    return [(int(each.records["field"][0]), int(each.records["px"][0])) for each in decoded if each is not None]


def test_while_a_queue_is_not_read_its_trades_and_order_books_are_marked_once_a_second() -> None:
    holes = heard(TRADE, ORDERBOOK, TICKER)
    holes.end("queue", NOW_NS, is_gone=False)
    assert fields(holes.due(NOW_NS)) == [(START, ORDERBOOK), (START, TRADE)]
    assert holes.due(NOW_NS + SECOND_NS - 1) == []
    assert fields(holes.due(NOW_NS + SECOND_NS)) == [(START, ORDERBOOK), (START, TRADE)]
    assert fields(holes.begin("queue", NOW_NS + 2 * SECOND_NS, is_full=False)) == [(START, ORDERBOOK), (START, TRADE)]
    assert holes.count == 1
    assert holes.due(NOW_NS + 9 * SECOND_NS) == []


@pytest.mark.parametrize(("is_gone", "is_full"), [(True, False), (False, True)])
def test_what_a_queue_lost_is_lost_of_every_kind(*, is_gone: bool, is_full: bool) -> None:
    holes = heard(TRADE, ORDERBOOK, TICKER)
    holes.end("queue", NOW_NS, is_gone=is_gone)
    marks = fields(holes.begin("queue", NOW_NS, is_full=is_full))
    assert marks == [(GAP, 0), (START, ORDERBOOK), (START, TRADE), (START, TICKER)]


def test_a_queue_that_brought_nothing_before_has_no_hole() -> None:
    holes = QueueHoles()
    holes.end("queue", NOW_NS, is_gone=True)
    assert holes.due(NOW_NS) == []
    assert holes.begin("queue", NOW_NS, is_full=True) == []
    assert holes.count == 0


@pytest.mark.parametrize("symbol", ["", "../../etc", "btcusdt", "A" * 41])
def test_a_topic_of_no_symbol_is_marked_nowhere(symbol: str) -> None:
    holes = heard(TRADE)
    holes.hear("queue", f"publicTrade.{symbol}")
    holes.end("queue", NOW_NS, is_gone=False)
    assert fields(holes.due(NOW_NS)) == [(START, TRADE)]
    assert fields(holes.begin("queue", NOW_NS, is_full=True)) == [(START, TRADE)]


def test_a_queue_that_another_process_reads_is_marked_by_that_one_alone() -> None:
    holes = heard(TRADE)
    holes.end("queue", NOW_NS, is_gone=False)
    holes.forget("queue")
    assert holes.due(NOW_NS) == []
    holes.end("queue", NOW_NS, is_gone=False)  # it is tried again and again
    assert holes.due(NOW_NS + SECOND_NS) == []
