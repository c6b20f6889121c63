"""Runs tapes through a kernel in a process of its own: python -m tests.laws.replay <folder> <cache folder>.

Reads ``<n>.events.npy`` and, where there is one, ``<n>.checkpoint`` to go on from; writes ``<n>.rows``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from market.events import Events
from tests.laws.running import reasons_of
from tests.laws.streams import INSTRUMENT
from transforms.catalogue import FEATURES, feature_set
from transforms.engine import Engine
from transforms.plan import Kernel, compile_kernel


def replay(kernel: Kernel, events: Events, until_ns: int, checkpoint: bytes | None) -> bytes:
    """Every byte of the rows."""
    engine = Engine(kernel, INSTRUMENT)
    if checkpoint is not None:
        engine.restore(checkpoint)
    engine.feed(events)
    rows = engine.advance(until_ns)
    look = engine.peek()
    return b"".join(
        array.tobytes() for part in (rows, look) for array in (part.row_ns, part.values, reasons_of(part), part.status)
    )


def main(folder: Path, cache: Path) -> None:
    kernel = compile_kernel(feature_set("laws", list(FEATURES)), cache)
    for path in sorted(folder.glob("*.events.npy")):
        events = np.load(path)
        number = path.name.partition(".")[0]
        checkpoint_path = folder / f"{number}.checkpoint"
        checkpoint = checkpoint_path.read_bytes() if checkpoint_path.exists() else None
        until_ns = int((folder / f"{number}.until").read_text())
        (folder / f"{number}.rows").write_bytes(replay(kernel, events, until_ns, checkpoint))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
