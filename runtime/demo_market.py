"""The recording that the demonstration plays: made by another process while libraries load and servers start."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from market.clock import MINUTE_NS, parse_iso_ns
from market.errors import CorruptStore

SEED: Final = 7
START_NS: Final = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS: Final = 10 * MINUTE_NS


class Recording:
    """``path`` has the messages once ``wait`` has returned."""

    def __init__(self, path: Path, process: BaseProcess) -> None:
        self.path = path
        self._process = process

    def wait(self) -> None:
        """Raises CorruptStore when the other process did not write it whole."""
        self._process.join()
        if self._process.exitcode != 0:
            raise CorruptStore(f"{self.path}: recording failed with exit code {self._process.exitcode}")


@contextmanager
def recording_beside(path: Path) -> Iterator[Recording]:
    """Another process simulates the market and records it, for `feature-service replay` too; it ends with the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    process = get_context("spawn").Process(target=_record, args=(path,), daemon=True)
    process.start()
    try:
        yield Recording(path, process)
    finally:
        process.terminate()
        process.join()


def _record(path: Path) -> None:
    from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate

    messages = simulate(DEFAULT_SYMBOLS, seed=SEED, start_ns=START_NS, duration_ns=DURATION_NS)
    with gzip.open(path, "wb", compresslevel=1) as file:
        for message in messages:
            file.write(b'{"recv_ns":%d,"msg":%b}\n' % (message.recv_ns, message.body))
