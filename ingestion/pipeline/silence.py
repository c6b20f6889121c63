"""What a worker does about a long silence that is over: the rows of its whole hours are left to those who rebuild.

Ten months of a symbol are 27 million rows. Nobody was there to be given them, and what is known in them is what a
rebuild says, so a start computes those of the first hour, in which the last message came, and of the present one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from market.clock import SECOND_NS, floor_to
from transforms.engine import Engine
from transforms.rows import FeatureRows
from transforms.silences import LONG_NS, Period, hours_left_out

ROWS_AT_ONCE: Final = 86_400
"""Rows at whole seconds that are closed before the sinks have them: a day of one symbol, an hour of two dozen."""


class Silence:
    """The hours of one symbol that are left out."""

    def __init__(self) -> None:
        self.hours: tuple[Period, ...] = ()

    def look(self, engine: Engine, until_ns: int) -> None:
        """Find the hours between what the engine has closed and ``until_ns`` that are to be left out."""
        closed_ns = engine.closed_ns
        if closed_ns is None or until_ns - closed_ns <= LONG_NS:
            return
        stamps_ns = engine.waiting["recv_ns"]
        known_ns = sorted(stamps_ns[stamps_ns < until_ns].tolist())
        self.hours = hours_left_out([closed_ns, *known_ns, until_ns])

    def close(self, engine: Engine, until_ns: int) -> FeatureRows:
        """Close everything up to there at once, and leave out what is to be."""
        self.look(engine, until_ns)
        return engine.advance(until_ns, without=self.hours)

    def after(self, closed_ns: int) -> int:
        """The second before the next row, where everything up to ``closed_ns`` is closed."""
        for begin_ns, end_ns in self.hours:
            if begin_ns <= closed_ns < end_ns:
                return end_ns - SECOND_NS
        return closed_ns


def steps_to(watermark_ns: int, symbols: Collection[tuple[Engine, Silence]]) -> Iterator[int]:
    """Watermarks to close, the last one ``watermark_ns``, of which each closes at most some ROWS_AT_ONCE."""
    closed_ns = [(each, silence) for engine, silence in symbols if (each := engine.closed_ns) is not None]
    if closed_ns:
        step_ns = max(1, ROWS_AT_ONCE // len(closed_ns)) * SECOND_NS
        until_ns = floor_to(min(each for each, _ in closed_ns), SECOND_NS)
        while True:
            begin_ns = min(silence.after(max(floor_to(each, SECOND_NS), until_ns)) for each, silence in closed_ns)
            until_ns = begin_ns + step_ns
            if until_ns >= watermark_ns:
                break
            yield until_ns
    yield watermark_ns
