"""An ingest that ends and starts again, as tests see it: what each process serves, and what a rebuild says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ingestion.messages import TimedMessage
from ingestion.pipeline.served_rows import ServedRows
from ingestion.tape.compaction import compact_tape
from market.clock import SECOND_NS, parse_iso_ns
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.pipelines import pipeline_in
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.catalogue import feature_set
from transforms.kernel import Kernel

SYMBOL = "BTCUSDT"
BEGIN_NS = parse_iso_ns("2026-01-05T12:59:30")
SHORT = feature_set("0.0.1", ["depth_bid_top5", "depth_ask_top5"])
STOPPED_AFTER_S = 80
"""Longer than the horizon: the one snapshot, at the beginning, lies before it."""


class Kept:
    """Keeps every row that is served."""

    def __init__(self) -> None:
        self.served: list[ServedRows] = []

    def write(self, served: Sequence[ServedRows]) -> None:
        self.served += served

    def close(self) -> None:
        pass


def serve(raw: Path, kernel: Kernel, messages: Sequence[TimedMessage]) -> list[ServedRows]:
    """What one process serves from its start to its end."""
    kept = Kept()
    pipeline = pipeline_in(raw, kernel, kept, tape_sync_ms=1)
    try:
        for message in messages:
            pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
            pipeline.handle(message)
    finally:
        pipeline.close()
    return kept.served


def before_and_after(messages: Sequence[TimedMessage]) -> tuple[Sequence[TimedMessage], Sequence[TimedMessage]]:
    """The messages of two processes."""
    cut = next(
        at for at, each in enumerate(messages) if each.recv_ns > BEGIN_NS + STOPPED_AFTER_S * SECOND_NS + SECOND_NS // 3
    )
    return messages[:cut], messages[cut:]


def assert_rebuilt(raw: Path, kernel: Kernel, served: list[ServedRows]) -> None:
    """Every row is that of a rebuild, and some book features are known."""
    compact_tape(raw, SYMBOL, InstrumentPins(raw))
    rebuilt = rebuild_rows(RawData(raw), SYMBOL, kernel)
    row_ns = np.concatenate([each.rows.row_ns for each in served])
    values = np.concatenate([each.rows.values for each in served])
    status = np.concatenate([each.rows.status for each in served])
    at = np.searchsorted(rebuilt.row_ns, row_ns)
    assert np.array_equal(rebuilt.row_ns[at], row_ns)
    assert np.array_equal(rebuilt.values[at].view(np.int64), values.view(np.int64))
    assert np.array_equal(rebuilt.status[at], status)
    assert np.isfinite(values[:, kernel.feature_set.columns.index("depth_bid_top5")]).all()
