"""Each limit moves what is told of a stream, and what counts as late or doubled needs a number and a share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS
from market.events import FIRST, KLINE, LAST, ORDERBOOK, SNAPSHOT, TICKER, TRADE, Events, empty_events
from quality.limits import FEWEST_ODD, USUAL_LIMITS, QualityLimits, is_odd
from quality.minutes import Carried, QualityEvent, judge_minute

BEGIN_NS = 28_000_000 * MINUTE_NS


def each(kind: int, seconds: list[float], *, late_ms: int = 0) -> Events:
    events = empty_events(len(seconds))
    events["kind"], events["flags"] = kind, FIRST | LAST
    events["recv_ns"] = BEGIN_NS + (np.array(seconds) * SECOND_NS).astype(np.int64)
    events["event_ns"] = events["recv_ns"] - late_ms * MILLISECOND_NS
    events["px"] = events["qty"] = 10_000
    events["update_id"] = 10 + np.arange(len(seconds)) if kind == ORDERBOOK else 0
    return events


def every(step_s: float, kind: int = ORDERBOOK, *, late_ms: int = 0) -> Events:
    return each(kind, np.arange(0, 60, step_s).tolist(), late_ms=late_ms)


def repaired(after_s: float) -> Events:
    """A gap of five messages that is seen after 20 s, and the snapshot that ends it."""
    events = each(ORDERBOOK, [*range(21), 20 + after_s, *range(24, 60)])
    events["update_id"][20:] += 5
    events["update_id"][21:] += 1000
    events["flags"][21] |= SNAPSHOT
    return events


def with_price(px: int) -> Events:
    """Trades whose scaled MAD is 0.15 %, and one with another price."""
    events = every(1, TRADE)
    events["px"][::3], events["px"][1::3] = 9_990, 10_010
    events["px"][31] = px
    return events


def told(events: Events, limits: QualityLimits) -> set[tuple[str, str, str]]:
    before = Carried(update_id=9, last_ns={ORDERBOOK: BEGIN_NS}, offset_ns=0)

    def of(event: QualityEvent) -> tuple[str, str, str]:
        return event.stream, event.what, event.severity

    return {of(event) for event in judge_minute(events, BEGIN_NS, before, scales=(1.0, 1.0), limits=limits).events}


@pytest.mark.parametrize(
    ("change", "events", "event"),
    [
        ({"book_silence_s": 1}, every(2), ("orderbook", "silence", "warning")),
        ({"trade_silence_s": 1}, every(2, TRADE), ("trade", "silence", "warning")),
        ({"ticker_silence_s": 1}, every(2, TICKER), ("ticker", "silence", "warning")),
        ({"kline_silence_s": 1}, every(2, KLINE), ("kline", "silence", "warning")),
        ({"repair_s": 1}, repaired(3), ("orderbook", "gap", "warning")),
        ({"clock_jump_ms": 100}, every(1, late_ms=200), ("orderbook", "clock_jump", "warning")),
        ({"outlier_deviations": 3.0}, with_price(10_090), ("trade", "outliers", "warning")),
        ({"missing_rate": 0.01}, repaired(3), ("orderbook", "missing", "warning")),
        ({"anomaly_rate": 0.01}, with_price(10_200), ("trade", "outliers", "warning")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_limit_tells_what_a_laxer_one_passes_over(
    change: dict[str, Any], events: Events, event: tuple[str, str, str]
) -> None:
    lax = replace(USUAL_LIMITS, missing_rate=0.5, anomaly_rate=0.01 if "outlier" in next(iter(change)) else 0.5)
    assert event not in told(events, lax)
    assert event in told(events, replace(lax, **change))


@pytest.mark.parametrize(
    ("count", "of", "is_told"),
    [(FEWEST_ODD - 1, 100, False), (FEWEST_ODD, 100, True), (FEWEST_ODD, 2_000, False), (FEWEST_ODD, 1_999, True)],
)
def test_so_many_messages_and_such_a_share_of_them_are_odd(count: int, of: int, is_told: bool) -> None:  # noqa: FBT001
    assert is_odd(count, of, 0.05) is is_told
