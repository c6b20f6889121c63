"""Runs: the confirmed candles of one interval that a row may look at, in a plain list of arrivals."""

from __future__ import annotations

from market.clock import MINUTE_NS
from quality.oracle.candles import Candle


class Runs:
    """Of an interval of so many minutes; those of more than one are not used before they have ended."""

    def __init__(self, minutes: int, slot_ns: int) -> None:
        self._interval_ns = minutes * MINUTE_NS
        self._waits_for_its_end = minutes > 1
        self._slot_ns = slot_ns
        self._candles: dict[int, Candle] = {}
        self._arrivals: list[tuple[int, int]] = []

    def add(self, start_ns: int, candle: Candle) -> None:
        """A candle that the exchange has confirmed."""
        self._candles[start_ns] = candle
        self._arrivals.append((candle.received_ns, start_ns))

    def last(self, row_ns: int) -> list[Candle]:
        """The consecutive candles up to the newest, oldest first; empty when that is no news any more.

        A newest one received more than two intervals ago is none. The k-th candle back was received within the horizon
        of k candles, k + 1 intervals.
        """
        fresh_from_ns = row_ns - 2 * self._interval_ns
        fresh = []
        for recv_ns, start_ns in reversed(self._arrivals):
            if recv_ns < fresh_from_ns - self._slot_ns:  # arrivals are in order by the slot
                break
            has_ended = not self._waits_for_its_end or start_ns + self._interval_ns <= row_ns
            if has_ended and self._candles[start_ns].received_ns >= fresh_from_ns:
                fresh.append(start_ns)
        run: list[Candle] = []
        start_ns = max(fresh, default=0)
        while (
            start_ns in self._candles
            and self._candles[start_ns].received_ns >= row_ns - (len(run) + 2) * self._interval_ns
        ):
            run.append(self._candles[start_ns])
            start_ns -= self._interval_ns
        return run[::-1]
