"""The newest row of each symbol on its way to a slow place: what is left out, what never is, what a failure does."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.latest_rows import LatestRows
from market.clock import SECOND_NS
from market.errors import Conflict
from tests.live import eventually
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
SET = FeatureSet("1.0.0", ("known",), (FeatureGroup("price", "p", ("known",), (0,)),), "f00d")
DEADLINE_S = 30.0


def served(symbol: str, *seconds: int) -> ServedRows:
    row_ns = np.array(seconds, np.int64) * SECOND_NS
    values = np.array(seconds, np.float64).reshape(-1, 1)
    return ServedRows(FeatureRows(symbol, SET, row_ns, values, np.zeros((len(seconds), 1), np.int8)), row_ns)


class SlowSink:
    """Writes one batch for each ``let``; ``error`` is raised instead when it is there."""

    def __init__(self) -> None:
        self.written: list[list[tuple[str, int]]] = []
        self.error: Exception | None = None
        self.is_closed = False
        self.begun = threading.Semaphore(0)
        self._let = threading.Semaphore(0)

    def let(self, count: int = 1) -> None:
        self._let.release(count)

    def write(self, served: Sequence[ServedRows]) -> None:
        self.begun.release()
        assert self._let.acquire(timeout=DEADLINE_S)
        if self.error is not None:
            raise self.error
        self.written.append([(each.rows.symbol, int(each.rows.row_ns[-1]) // SECOND_NS) for each in served])

    def close(self) -> None:
        self.is_closed = True


def test_rows_that_come_while_the_sink_is_busy_replace_each_other() -> None:
    sink, told = SlowSink(), list[int]()
    latest = LatestRows(sink, on_written=lambda rows: told.append(len(rows)))
    latest.write([served("BTCUSDT", 1)])
    assert sink.begun.acquire(timeout=DEADLINE_S)
    assert latest.is_busy
    latest.write([served("BTCUSDT", 2), served("ETHUSDT", 2)])
    latest.write([served("BTCUSDT", 3, 4)])
    latest.write([served("SOLUSDT")])  # no row is no news
    sink.let(2)
    latest.close()
    assert sink.written == [[("BTCUSDT", 1)], [("BTCUSDT", 4), ("ETHUSDT", 2)]]
    assert told == [1, 2]
    assert latest.replaced == 1
    assert sink.is_closed


def test_a_time_is_whole_once_all_parts_of_it_are_written() -> None:
    sink, told = SlowSink(), list[str]()
    latest = LatestRows(
        sink,
        on_written=lambda rows: told.append(f"{len(rows)} rows"),
        on_whole=lambda row_ns: told.append(f"second {row_ns // SECOND_NS}"),
    )
    latest.write([served("BTCUSDT", 1)])
    assert sink.begun.acquire(timeout=DEADLINE_S)
    sink.let()
    eventually(lambda: told == ["1 rows"])
    assert latest.is_busy, "others of its time are still computed"
    latest.write([served("ETHUSDT", 1)])
    assert sink.begun.acquire(timeout=DEADLINE_S)
    latest.write([served("SOLUSDT", 1)])
    latest.note_whole(SECOND_NS)
    sink.let(2)
    eventually(lambda: told == ["1 rows", "1 rows", "1 rows", "second 1"])
    eventually(lambda: not latest.is_busy)
    latest.note_whole(2 * SECOND_NS)  # it was told when everything was written
    eventually(lambda: told[4:] == ["second 2"])
    latest.close()


def test_who_gives_way_waits_until_rows_are_stored_and_not_for_a_sink_that_is_slow() -> None:
    sink, done = SlowSink(), threading.Event()
    latest = LatestRows(sink)
    latest.wait_until_stored(DEADLINE_S)  # nothing is on its way
    latest.write([served("BTCUSDT", 1)])
    latest.note_whole(SECOND_NS)
    assert sink.begun.acquire(timeout=DEADLINE_S)

    def give_way() -> None:
        latest.wait_until_stored(DEADLINE_S)
        done.set()

    threading.Thread(target=give_way, daemon=True).start()
    latest.wait_until_stored(0.01)  # it has taken longer by then
    latest.write([served("ETHUSDT", 1)])
    latest.wait_until_stored(0.01)  # and nobody waits anew for what came meanwhile
    assert not done.is_set()
    sink.let(2)
    eventually(lambda: len(sink.written) == 2)
    assert not done.is_set(), "others of its time are still computed"
    latest.note_whole(2 * SECOND_NS)
    assert done.wait(DEADLINE_S)
    latest.close()


@given(st.lists(st.lists(st.sampled_from(SYMBOLS), unique=True), max_size=20))
def test_the_last_row_of_each_symbol_is_written_and_none_is_behind_one_that_was(batches: list[list[str]]) -> None:
    sink = SlowSink()
    sink.let(len(batches) + 1)
    latest = LatestRows(sink)
    last = {}
    for second, symbols in enumerate(batches):
        latest.write([served(symbol, second) for symbol in symbols])
        last.update(dict.fromkeys(symbols, second))
    latest.close()
    written = [row for batch in sink.written for row in batch]
    assert dict(written) == last
    for symbol in last:
        seconds = [second for name, second in written if name == symbol]
        assert seconds == sorted(set(seconds))
    assert len(written) + latest.replaced == sum(map(len, batches))


def test_what_the_sink_raises_is_raised_by_the_next_write_and_closing_still_closes() -> None:
    sink = SlowSink()
    sink.error = Conflict("store: must be ours, was not")
    latest = LatestRows(sink)
    latest.write([served("BTCUSDT", 1)])
    sink.let()

    def is_refused() -> bool:
        try:
            latest.write([])
        except Conflict:
            return True
        return False

    eventually(is_refused)
    with pytest.raises(Conflict, match="must be ours"):
        latest.write([served("BTCUSDT", 2)])
    latest.close()
    assert sink.is_closed
    assert sink.written == []


def test_what_is_done_with_written_rows_fails_as_the_sink_does() -> None:
    sink = SlowSink()

    def refuse(_served: Sequence[ServedRows]) -> None:
        raise Conflict("the disk is full")

    rows = LatestRows(sink, on_written=refuse)
    sink.let(10)
    rows.write([served("BTCUSDT", 1)])
    assert sink.begun.acquire(timeout=DEADLINE_S)

    def fails() -> bool:
        try:
            rows.write([served("BTCUSDT", 2)])
        except Conflict:
            return True
        return False

    eventually(fails)
    rows.close()
    assert sink.written == [[("BTCUSDT", 1)]]
