"""What is wrong with streams, as the log tells it: a line each, and one for what many symbols have in common."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from market.clock import SECOND_NS, to_datetime
from storage.database.minute_quality import StoredEvent
from upkeep.quality import MOST_LINES, log_news, news_of

NOON = to_datetime(1_700_000_040 * SECOND_NS)


def missing(symbol: str) -> StoredEvent:
    return StoredEvent(
        symbol=symbol,
        stream="kline",
        what="missing",
        severity="warning",
        begin_at=NOON,
        end_at=None,
        detail="no candle",
    )


def logged(symbols: Sequence[str], caplog: pytest.LogCaptureFixture) -> list[str]:
    log_news([each for symbol in symbols for each in news_of([missing(symbol)], {})])
    return caplog.messages


def test_some_symbols_have_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    symbols = [f"S{at}USDT" for at in range(MOST_LINES)]
    assert [line.partition(" ")[0] for line in logged(symbols, caplog)] == symbols


def test_what_many_symbols_have_in_common_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = logged([f"S{at}USDT" for at in range(500)], caplog)
    assert line == f"S0USDT and 499 others: kline missing since {NOON.isoformat()}: no candle"
