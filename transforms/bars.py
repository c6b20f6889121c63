"""Bars: confirmed candles of the exchange's intervals other than a minute, those that a row may look at.

1. A bar stands in the slot of its start among those of its interval; a later message for the same start replaces it.
2. A bar that was received before its end is not used by a row before its end.
3. At a row, the newest bar must have been received within two intervals, else no bar is known.
4. From there back, bars are known as long as each start's slot holds that very start: a hole ends the sequence and is
   never bridged.
5. A feature over n bars sees those n alone, all received within its horizon of n + 1 intervals.
6. The bars stay the same until another arrives, an early one ends or the first grows too old; until then they are not
   collected again and the features over them keep their values.
"""

from __future__ import annotations

from typing import Any, Final

from market.clock import MINUTE_NS
from market.events import CLOSE, CONFIRMED, HIGH, KLINE_FIELD_COUNT, LOW, OPEN, TURNOVER, VOLUME
from transforms.candles import Candles
from transforms.jit import jit
from transforms.state import BAR_FIRST_SLOTS, BAR_MINUTES, BAR_SLOTS, NOT_STARTED

FRESH_INTERVALS: Final = 2


@jit
def bar_place(minutes: int) -> int:
    """Where an interval stands among BAR_MINUTES, -1 for one that is kept and read by no feature."""
    for at in range(len(BAR_MINUTES)):
        if BAR_MINUTES[at] == minutes:
            return at
    return -1


@jit
def apply_bar_record(bars: Any, record: Any) -> None:
    """Gather a bar's fields and keep it with its last one, if the exchange has confirmed it."""
    at = bar_place(record.qty)
    if at < 0:
        return
    bars.last_seen_ns[at] = record.recv_ns
    bars.pending[record.field] = record.px
    if record.field != TURNOVER or not record["flags"] & CONFIRMED:
        return
    slot = _slot(at, record.update_id)
    bars.known_until_ns[at] = 0
    bars.start_ns[slot] = record.update_id
    bars.recv_ns[slot] = record.recv_ns
    for field in range(KLINE_FIELD_COUNT):
        bars.value[field, slot] = bars.pending[field]


@jit
def collect_bars(bars: Any, row_ns: int, at: int, count: int) -> bool:
    """Find the last ``count`` known bars of an interval; returns False when they are those of the row before.

    They stand at the end of the interval's slots of ``bars.window``, oldest first; ``known`` is how many there are.
    """
    if row_ns <= bars.known_until_ns[at]:
        return False
    interval_ns = BAR_MINUTES[at] * MINUTE_NS
    end_slot = BAR_FIRST_SLOTS[at] + BAR_SLOTS[at]
    bars.known[at] = 0
    start_ns, until_ns = _newest_fresh_start(bars, row_ns, at)
    if start_ns > 0:
        until_ns = min(until_ns, bars.recv_ns[_slot(at, start_ns)] + FRESH_INTERVALS * interval_ns)
    while start_ns > 0 and bars.known[at] < count:
        slot = _slot(at, start_ns)
        too_old_after_ns = bars.recv_ns[slot] + (bars.known[at] + 2) * interval_ns
        if bars.start_ns[slot] != start_ns or too_old_after_ns < row_ns:
            break
        until_ns = min(until_ns, too_old_after_ns)
        bars.known[at] += 1
        for field in range(KLINE_FIELD_COUNT):
            bars.window[field, end_slot - bars.known[at]] = bars.value[field, slot]
        start_ns -= interval_ns
    bars.known_until_ns[at] = until_ns
    return True


@jit
def last_bars(bars: Any, at: int, count: int) -> Candles:
    """The last ``count`` bars that ``collect_bars`` found."""
    end = BAR_FIRST_SLOTS[at] + BAR_SLOTS[at]
    first = end - count
    return Candles(
        bars.window[OPEN, first:end],
        bars.window[HIGH, first:end],
        bars.window[LOW, first:end],
        bars.window[CLOSE, first:end],
        bars.window[VOLUME, first:end],
    )


@jit
def _slot(at: int, start_ns: int) -> int:
    return BAR_FIRST_SLOTS[at] + start_ns // (BAR_MINUTES[at] * MINUTE_NS) % BAR_SLOTS[at]


@jit
def _newest_fresh_start(bars: Any, row_ns: int, at: int) -> tuple[int, int]:
    """Start of the newest bar that has ended and was received within two intervals, 0 when there is none.

    With it until when none that was received before its end has ended. Every slot is looked at, as of candles.
    """
    interval_ns = BAR_MINUTES[at] * MINUTE_NS
    newest_ns = 0
    until_ns = NOT_STARTED
    for slot in range(BAR_FIRST_SLOTS[at], BAR_FIRST_SLOTS[at] + BAR_SLOTS[at]):
        if bars.recv_ns[slot] < row_ns - FRESH_INTERVALS * interval_ns:
            continue
        end_ns = bars.start_ns[slot] + interval_ns
        if end_ns <= row_ns:
            newest_ns = max(newest_ns, bars.start_ns[slot])
        else:
            until_ns = min(until_ns, end_ns - 1)
    return newest_ns, until_ns
