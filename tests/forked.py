"""A compaction in a process that a test kills, forked from one that has imported all of it."""

from __future__ import annotations

from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from ingestion.tape.compaction import compact_tape
from storage.instruments import InstrumentPins
from storage.places import place_of


def compacting(taped: Path, address: str) -> ForkServerProcess:
    """A started process; its exit code is 0 once everything is compacted to the address."""
    context: ForkServerContext = get_context("forkserver")
    context.set_forkserver_preload([__name__, "obstore.store", "pyarrow.parquet"])
    process = context.Process(target=_compact, args=(taped, address))
    process.start()
    return process


def _compact(taped: Path, address: str) -> None:
    compact_tape(taped, "BTCUSDT", InstrumentPins(taped), place=place_of(address))
