"""Rows at the ticks of a grid as a pipeline serves them, held against those that its tape gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import ServedRows, available_now
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS
from ingestion.tape.compaction import compact_tape
from market.clock import MILLISECOND_NS, SECOND_NS, floor_to, parse_iso_ns
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from training_sets.rebuild.rebuild import rebuild_rows_at
from transforms.kernel import Kernel
from transforms.rows import FeatureSet

BEGIN_NS = parse_iso_ns("2026-01-05T12:59:57")
GRID_NS = 100 * MILLISECOND_NS
SYMBOLS = [symbol.symbol for symbol in DEFAULT_SYMBOLS[:2]]


class Served:
    """Every row that is served, by symbol."""

    def __init__(self) -> None:
        self.rows: dict[str, list[ServedRows]] = {symbol: [] for symbol in SYMBOLS}

    def write(self, served: Sequence[ServedRows]) -> None:
        for each in served:
            self.rows[each.rows.symbol].append(each)

    def close(self) -> None:
        """Nothing is held."""

    def times(self, symbol: str) -> list[int]:
        return [row_ns for each in self.rows[symbol] for row_ns in each.rows.row_ns.tolist()]

    def bits(self, symbol: str) -> dict[int, bytes]:
        return {
            int(row_ns): each.rows.values[at].tobytes() + each.rows.status[at].tobytes()
            for each in self.rows[symbol]
            for at, row_ns in enumerate(each.rows.row_ns)
        }


class Given:
    """What is known of a symbol's past: the newest rows that were kept and given."""

    def __init__(self, *, given_ns: int | None) -> None:
        self.given_ns = given_ns

    def last_row_ns(self, symbol: str, feature_set: FeatureSet) -> int | None:  # noqa: ARG002  # of all
        return None if self.given_ns is None else floor_to(self.given_ns, SECOND_NS)

    def last_given_ns(self, symbol: str) -> int | None:  # noqa: ARG002  # of all
        return self.given_ns

    def write_again(self, served: ServedRows) -> None:
        assert (served.rows.row_ns > (self.given_ns or 0)).all()

    def is_whole(self, symbol: str) -> bool:  # noqa: ARG002  # of all
        return True


@contextmanager
def serving(
    raw: Path, kernel: Kernel, *, history: Given | None = None, grid_ns: int = GRID_NS
) -> Iterator[tuple[Pipeline, Served]]:
    served = Served()
    pipeline = Pipeline(
        kernel,
        InstrumentPins(raw),
        raw_folder=raw,
        dead_letter=DeadLetter(raw / "dead_letter.jsonl"),
        sinks=[served],
        availability=available_now,
        grid_ns=grid_ns,
        tape_sync_ms=1,
        history=history,
    )
    try:
        yield pipeline, served
    finally:
        pipeline.close()


def take(pipeline: Pipeline, messages: Sequence[TimedMessage], *, until_ns: int, grid_ns: int = GRID_NS) -> None:
    """Each message at its time, and each tick when it is due."""
    tick_ns = floor_to(messages[0].recv_ns, grid_ns) + grid_ns
    for message in messages:
        while tick_ns <= message.recv_ns:
            pipeline.advance(tick_ns, now_ns=tick_ns)
            tick_ns += grid_ns
        pipeline.handle(message)
    for due_ns in range(tick_ns, until_ns + 1, grid_ns):
        pipeline.advance(due_ns, now_ns=due_ns)


def assert_rebuilt(raw: Path, kernel: Kernel, served: Served) -> None:
    """Each row that was served is, bit for bit, that which the tape gives at its time."""
    pins = InstrumentPins(raw)
    for symbol in SYMBOLS:
        compact_tape(raw, symbol, pins)
        bits = served.bits(symbol)
        times = np.array(sorted(bits), np.int64)
        rebuilt = rebuild_rows_at(RawData(raw), symbol, kernel, times)
        found = {
            int(row_ns): rebuilt.values[at].tobytes() + rebuilt.status[at].tobytes()
            for at, row_ns in enumerate(rebuilt.row_ns)
        }
        assert found == bits
