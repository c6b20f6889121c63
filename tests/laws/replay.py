"""Runs tapes through a kernel in a process of its own: python -m tests.laws.replay <folder> <cache folder> <columns>.

Reads ``<n>.events.npy``, ``<n>.until`` and, where there is one, ``<n>.checkpoint`` to go on from; writes ``<n>.npz``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from market.clock import SECOND_NS
from market.events import Events
from tests.laws.columns import every_feature, sampled_features
from tests.laws.running import begin, joined, reasons_of
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows, FeatureSet

TICK_NS: Final = SECOND_NS // 10
COLUMNS: Final[dict[str, Callable[[], FeatureSet]]] = {"every": every_feature, "sampled": sampled_features}


def replay(kernel: Kernel, events: Events, until_ns: int, checkpoint: bytes | None) -> FeatureRows:
    """The rows, and after them, where the grid is not the checkpoint's whole seconds, one between seconds."""
    engine = begin(kernel, checkpoint, grid_ns=SECOND_NS if checkpoint is not None else TICK_NS)
    engine.feed(events)
    return joined([engine.advance(until_ns), engine.advance(until_ns + 7 * TICK_NS)])


def main(folder: Path, cache: Path, columns: str) -> None:
    kernel = compile_kernel(COLUMNS[columns](), cache)
    for path in sorted(folder.glob("*.events.npy")):
        number = path.name.partition(".")[0]
        checkpoint_path = folder / f"{number}.checkpoint"
        checkpoint = checkpoint_path.read_bytes() if checkpoint_path.exists() else None
        rows = replay(kernel, np.load(path), int((folder / f"{number}.until").read_text()), checkpoint)
        reasons = reasons_of(rows)
        np.savez(folder / f"{number}.npz", row_ns=rows.row_ns, values=rows.values, status=rows.status, reasons=reasons)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
