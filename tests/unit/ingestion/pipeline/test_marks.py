"""What a tape says of a time in which nothing was read."""

from __future__ import annotations

from ingestion.pipeline.marks import NO_NEWS_NS, Mark, absence_marks
from market.clock import MILLISECOND_NS, SECOND_NS
from market.events import CONTROL, GAP, KLINE, START, TICKER, TRADE

GRID_NS = 100 * MILLISECOND_NS
SINCE_NS = 1_000 * SECOND_NS + 250 * MILLISECOND_NS


def marks(away_ns: int, *, is_book_known: bool = True) -> list[Mark]:
    return list(absence_marks(SINCE_NS, SINCE_NS + away_ns, grid_ns=GRID_NS, is_book_known=is_book_known))


def test_the_book_and_every_stream_are_lost_at_the_beginning_and_trades_again_each_second() -> None:
    assert marks(2 * SECOND_NS) == [
        Mark(GAP, CONTROL, SINCE_NS),
        Mark(START, TRADE, SINCE_NS),
        Mark(START, TICKER, SINCE_NS),
        Mark(START, KLINE, SINCE_NS),
        Mark(START, TRADE, 1_001 * SECOND_NS),
        Mark(START, TRADE, 1_002 * SECOND_NS),
        Mark(START, CONTROL, SINCE_NS + 2 * SECOND_NS),
    ]


def test_a_time_without_a_tick_has_no_row_that_must_be_unknown() -> None:
    assert marks(49 * MILLISECOND_NS) == [Mark(START, CONTROL, SINCE_NS + 49 * MILLISECOND_NS)]
    assert len(marks(50 * MILLISECOND_NS)) > 1


def test_a_book_that_nobody_knew_is_not_lost() -> None:
    assert GAP not in {each.field for each in marks(SECOND_NS, is_book_known=False)}


def test_days_of_absence_have_few_marks() -> None:
    assert len(marks(10**6 * SECOND_NS)) == 5 + NO_NEWS_NS // SECOND_NS
