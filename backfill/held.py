"""What live data holds of a day: never overwritten, so that live data takes precedence.

1. Of candles each minute is held or not: the confirmed one arrived, or it did not. One that came longer than LATE_NS
   after its end was asked for when a worker started: what was known meanwhile it does not tell.
2. Of other streams it is time that is held: from one message to the next, unless LONGEST_SILENCE_NS lies between them
   or the worker restarted. Of trades it is the exchange's time: history states them as received later than they were,
   and the last one before a hole would come twice.
3. An order book is a chain of messages, which a day is not put together from: it is held as soon as there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, MINUTE_NS
from market.events import CONFIRMED, CONTROL, KLINE, OPEN, ORDERBOOK, START, TICKER, TRADE
from storage.raw.events import stream_events
from storage.raw.raw_data import RawData

LONGEST_SILENCE_NS: Final = MINUTE_NS
LATE_NS: Final = 2 * MINUTE_NS
KIND: Final[Mapping[str, int]] = {
    "klines": KLINE,
    "trades": TRADE,
    "orderbook": ORDERBOOK,
    "ticker": TICKER,
    "funding": TICKER,
}
"""The kind of record that each data type becomes."""
_FIELDS: Final = ("seq", "recv_ns", "event_ns", "update_id", "field", "flags")
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """minutes: starts of the candles that are held, ns. ranges: [start, end) of what is held, as the module says."""

    minutes: frozenset[int]
    ranges: tuple[Range, ...]

    def has(self, at_ns: int) -> bool:
        """Whether live data covers that time."""
        return any(start <= at_ns < end for start, end in self.ranges)


def held_of(raw: RawData, symbol: str, data_type: str, day_ns: int) -> Held:
    """What live data holds of a UTC day, seen with a minute and more on both sides. Raises CorruptStore."""
    kind = KIND[data_type]
    minutes: set[int] = set()
    times = [np.empty(0, np.int64)]
    starts = [np.empty(0, np.int64)]
    around_ns = 2 * LONGEST_SILENCE_NS
    for events, _ in stream_events(
        raw,
        symbol,
        kinds={kind},
        from_ns=day_ns - around_ns,
        to_ns=day_ns + DAY_NS + around_ns,
        fields=_FIELDS,
    ):
        live = events[events["seq"] >= 0]
        of_kind = live[live["kind"] == kind]
        times.append(np.unique(of_kind["event_ns" if kind == TRADE else "recv_ns"]))
        starts.append(live["recv_ns"][(live["kind"] == CONTROL) & (live["field"] == START)])
        if kind == KLINE:
            confirmed = (of_kind["flags"] & CONFIRMED != 0) & (of_kind["field"] == OPEN)
            came_ns = of_kind["recv_ns"] - of_kind["update_id"] - MINUTE_NS
            minutes.update(of_kind["update_id"][confirmed & (came_ns <= LATE_NS)].tolist())
    of_day = frozenset(minute for minute in minutes if day_ns <= minute < day_ns + DAY_NS)
    if kind == KLINE:
        return Held(of_day, joined(of_day))
    if kind == ORDERBOOK:
        found = np.concatenate(times)
        is_held = bool(((found >= day_ns) & (found < day_ns + DAY_NS)).any())
        return Held(frozenset(), ((day_ns, day_ns + DAY_NS),) if is_held else ())
    return Held(frozenset(), _runs(np.unique(np.concatenate(times)), np.concatenate(starts), day_ns))


def joined(minutes: Iterable[int]) -> tuple[Range, ...]:
    """Minutes as ranges, [start, end) ns."""
    ranges: list[list[int]] = []
    for minute in sorted(minutes):
        if ranges and ranges[-1][1] == minute:
            ranges[-1][1] = minute + MINUTE_NS
        else:
            ranges.append([minute, minute + MINUTE_NS])
    return tuple((start, end) for start, end in ranges)


def _runs(times: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], day_ns: int) -> tuple[Range, ...]:
    """The stretches of a day in which messages came without a break."""
    if len(times) == 0:
        return ()
    # A worker that begins anew breaks the stretch before the first message after it.
    breaks = np.diff(times) > LONGEST_SILENCE_NS
    for start in starts.tolist():
        after = int(np.searchsorted(times, start))
        if 0 < after < len(times):
            breaks[after - 1] = True
    cuts = np.flatnonzero(breaks) + 1
    begins, ends = times[np.concatenate([[0], cuts])], times[np.concatenate([cuts - 1, [len(times) - 1]])]
    runs = (
        (max(int(begin), day_ns), min(int(end) + 1, day_ns + DAY_NS)) for begin, end in zip(begins, ends, strict=True)
    )
    return tuple((begin, end) for begin, end in runs if begin < end)
