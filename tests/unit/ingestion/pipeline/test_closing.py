"""Closing rows: what is handed on in parts, and what together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from ingestion.pipeline.closing import LANES_AT_ONCE, Closing
from ingestion.pipeline.counters import Counters
from ingestion.pipeline.lanes import Lanes
from ingestion.pipeline.served_rows import ServedRows, available_now
from market.clock import MILLISECOND_NS, SECOND_NS
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

SET = FeatureSet("1.0.0", ("known",), (FeatureGroup("price", "p", ("known",), (0,)),), "f00d")
B = 1_772_000_000 * SECOND_NS
SYMBOLS = [f"S{number:03d}" for number in range(2 * LANES_AT_ONCE + 1)]
PARTS = [LANES_AT_ONCE, LANES_AT_ONCE, 1]


class OneRow:
    """A lane that has one row at each watermark, and tells when it is computed."""

    trace_id = None

    def __init__(self, symbol: str, done: list[str]) -> None:
        self.symbol = symbol
        self.closed = SimpleNamespace(newest_in_row_ns=None)
        self._done = done

    def compute(self, watermark_ns: int) -> FeatureRows:
        self._done.append(self.symbol)
        row_ns = np.array([watermark_ns], np.int64)
        return FeatureRows(self.symbol, SET, row_ns, np.zeros((1, 1)), np.zeros((1, 1), np.int8))

    def note_closed(self, rows: FeatureRows) -> None:
        assert rows.symbol == self.symbol

    def durability(self) -> Callable[[float], bool]:
        return lambda _timeout_s: True


class Change(SimpleNamespace):
    """A version that has come, on probation; it fails where a test says."""

    is_on_probation, is_over = True, False

    def boundary_ns(self, *_: object) -> None:
        """It has crossed its row."""

    def note_served(self, *_: object) -> None: ...

    def note_cost(self, *_: object) -> None: ...


class Closed:
    """Rows of all symbols as they are computed and handed on, in one list."""

    def __init__(self, change: Change | None = None) -> None:
        self.done: list[str] = []
        self.counters = Counters()
        lanes = {symbol: OneRow(symbol, self.done) for symbol in SYMBOLS}
        self._lanes = cast("Lanes", SimpleNamespace(change=change, by_symbol=lanes))
        self._closing = Closing(self.counters, [self], available_now, lambda rows: rows)

    def write(self, served: Sequence[ServedRows]) -> None:
        self.done.append(f"handed on {len(served)}")

    def close(self) -> None:
        """Nothing is held."""

    def parts(self, ms: int) -> list[int]:
        """How many symbols were handed on together, each before the next was computed."""
        self.done.clear()
        watermark_ns = B + ms * MILLISECOND_NS
        assert self._closing.advance(self._lanes, watermark_ns, watermark_ns) == len(SYMBOLS)
        sizes: list[int] = []
        waiting: list[str] = []
        for each in self.done:
            if each.startswith("handed on"):
                assert each == f"handed on {len(waiting)}"
                sizes.append(len(waiting))
                waiting = []
            else:
                waiting.append(each)
        assert [each for each in self.done if each in SYMBOLS] == SYMBOLS
        return sizes


def test_rows_of_a_tick_are_handed_on_while_the_others_are_computed() -> None:
    found = Closed()
    assert found.parts(0) == [len(SYMBOLS)], "nobody knows how long it was silent"
    assert found.parts(500) == PARTS
    assert found.parts(1_500) == PARTS
    assert (found.counters.rows, found.counters.tick_rows) == (len(SYMBOLS), 2 * len(SYMBOLS))


@pytest.mark.parametrize("ms", [1_001, 60_000], ids=["more than a second", "a minute"])
def test_rows_of_a_silence_are_handed_on_together(ms: int) -> None:
    found = Closed()
    found.parts(0)
    assert found.parts(ms) == [len(SYMBOLS)]
    assert found.parts(ms + 500) == PARTS


def test_rows_of_a_version_on_probation_are_handed_on_together() -> None:
    found = Closed(Change())
    found.parts(0)
    assert found.parts(500) == [len(SYMBOLS)]
