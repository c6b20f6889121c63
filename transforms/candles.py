"""One-minute candles: the confirmed klines a row may look at.

1. A candle stands in the slot of its minute; a later message for the same minute replaces it.
2. At a row, the newest candle must have been received within FRESH_NS, else no candle is known.
3. From there back, candles are known as long as each minute's slot holds that very minute: a hole ends the sequence and
   is never bridged.
4. A feature over n candles sees those n alone, all received within its horizon of n + 1 minutes.
5. The candles stay the same until another arrives or the first of them grows too old; until then they are not collected
   again and the features over them keep their values.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from market.clock import MINUTE_NS
from market.events import CLOSE, CONFIRMED, HIGH, KLINE_FIELD_COUNT, LOW, OPEN, TURNOVER, VOLUME
from transforms.jit import jit
from transforms.state import CANDLE_COUNT, NOT_STARTED

FRESH_NS: Final = 2 * MINUTE_NS


class Candles(NamedTuple):
    """Consecutive closed one-minute candles as int64 mantissas, oldest first."""

    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any


@jit
def candle_horizon_ns(count: int) -> int:
    """How far back ``count`` candles reach: their minutes and one more for the newest to arrive."""
    return (count + 1) * MINUTE_NS


@jit
def apply_kline_record(candles: Any, record: Any) -> None:
    """Gather a candle's fields and keep it with its last one, if the exchange has confirmed it."""
    candles.pending[record.field] = record.px
    if record.field != TURNOVER or not record["flags"] & CONFIRMED:
        return
    start_ns = record.update_id
    slot = _slot(start_ns)
    candles.known_until_ns = 0
    candles.start_ns[slot] = start_ns
    candles.recv_ns[slot] = record.recv_ns
    for field in range(KLINE_FIELD_COUNT):
        candles.value[field, slot] = candles.pending[field]


@jit
def collect_candles(candles: Any, row_ns: int, count: int) -> bool:
    """Find the last ``count`` known candles; returns False when they are those of the row before.

    They stand at the end of ``candles.window``, oldest first; ``known`` is how many there are.
    """
    if row_ns <= candles.known_until_ns:
        return False
    candles.known = 0
    candles.known_until_ns = NOT_STARTED
    start_ns = _newest_fresh_start(candles, row_ns)
    if start_ns > 0:
        candles.known_until_ns = candles.recv_ns[_slot(start_ns)] + FRESH_NS
    while start_ns > 0 and candles.known < count:
        slot = _slot(start_ns)
        too_old_after_ns = candles.recv_ns[slot] + candle_horizon_ns(candles.known + 1)
        if candles.start_ns[slot] != start_ns or too_old_after_ns < row_ns:
            break
        candles.known_until_ns = min(candles.known_until_ns, too_old_after_ns)
        candles.known += 1
        for field in range(KLINE_FIELD_COUNT):
            candles.window[field, CANDLE_COUNT - candles.known] = candles.value[field, slot]
        start_ns -= MINUTE_NS
    return True


@jit
def last_candles(candles: Any, count: int) -> Candles:
    """The last ``count`` candles that ``collect_candles`` found."""
    first = CANDLE_COUNT - count
    return Candles(
        candles.window[OPEN, first:],
        candles.window[HIGH, first:],
        candles.window[LOW, first:],
        candles.window[CLOSE, first:],
        candles.window[VOLUME, first:],
    )


@jit
def _slot(start_ns: int) -> int:
    return (start_ns // MINUTE_NS) & (CANDLE_COUNT - 1)


@jit
def _newest_fresh_start(candles: Any, row_ns: int) -> int:
    """Start of the newest candle received within FRESH_NS, 0 when there is none.

    Every slot is looked at, because the newest of all may be an old one, or one whose start was wrong; what came before
    the horizon must not matter.
    """
    newest_ns = 0
    for slot in range(CANDLE_COUNT):
        if candles.recv_ns[slot] >= row_ns - FRESH_NS:
            newest_ns = max(newest_ns, candles.start_ns[slot])
    return newest_ns
