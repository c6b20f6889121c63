"""What waits to be recorded, in order: closed rows, rows that readers were given; and checkpoints, kept together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ingestion.pipeline.served_rows import ServedRows
from storage.checkpoints import Checkpoint

MOST_CHECKPOINTS: Final = 64
"""Checkpoints that may wait for the disk: each is the whole state of a symbol, up to two megabytes."""
CHECKPOINTS_AT_ONCE: Final = MOST_CHECKPOINTS // 2
"""That are written together, so that the pipeline makes the next ones meanwhile."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A checkpoint on its way to the disk."""

    symbol: str
    checkpoint: Checkpoint
    wait_durable: Callable[[float], bool]


@dataclass(frozen=True, slots=True)
class Given:
    """Rows of which the last was given to the readers of its symbol, and when it was."""

    served: Sequence[ServedRows]
    given_ns: int


@dataclass(frozen=True, slots=True)
class Marks:
    """Checkpoints that are kept together."""

    marks: Sequence[Mark]


Kept = Sequence[ServedRows] | Given | threading.Event
Item = Kept | Mark
"""What the thread keeps, in order; an event is set when everything before it is kept."""


def together(items: queue.Queue[Item | None]) -> Iterator[Kept | Marks]:
    """What was put, in order; checkpoints that wait one behind the other come together."""
    marks: list[Mark] = []
    while True:
        try:
            item = items.get(block=not marks)
        except queue.Empty:
            yield Marks(marks)
            marks = []
            continue
        if isinstance(item, Mark):
            marks.append(item)
            if len(marks) < CHECKPOINTS_AT_ONCE:
                continue
        if marks:
            yield Marks(marks)
            marks = []
        if item is None:
            return
        if not isinstance(item, Mark):
            yield item
