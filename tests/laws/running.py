"""Driving an engine over a tape, and comparing rows to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import HOUR_NS, MINUTE_NS, SECOND_NS, floor_to
from market.events import Events
from tests.laws.messages import INSTRUMENT
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, joined_rows

TAIL_NS: Final = MINUTE_NS + 5 * SECOND_NS
"""Silence after the last message, long enough for every source but the slowest to go stale."""
Mask = npt.NDArray[np.bool_]


def end_of(events: Events) -> int:
    """A watermark some silent rows after the last message."""
    return int(events["recv_ns"].max()) + TAIL_NS


def begin(
    kernel: Kernel, checkpoint: bytes | None = None, *, start_ns: int | None = None, grid_ns: int = SECOND_NS
) -> Engine:
    """An engine that goes on from the checkpoint, if there is one."""
    engine = Engine(kernel, INSTRUMENT, start_ns=start_ns, grid_ns=grid_ns)
    if checkpoint is not None:
        engine.restore(checkpoint)
    return engine


def run(
    kernel: Kernel,
    events: Events,
    until_ns: int,
    *,
    checkpoint: bytes | None = None,
    start_ns: int | None = None,
    after_ns: int | None = None,
) -> FeatureRows:
    """The rows up to ``until_ns`` of an engine that is fed everything at once, those after ``after_ns`` if given."""
    engine = begin(kernel, checkpoint, start_ns=start_ns)
    engine.feed(events)
    if after_ns is not None:
        while engine.next_row_ns is not None and engine.next_row_ns <= after_ns:
            engine.advance(min(engine.next_row_ns + HOUR_NS, after_ns))  # by the hour: a day of rows is large
    return engine.advance(until_ns)


def safe_watermark(events: Events, fed: int) -> int | None:
    """The latest watermark that closes no row which an unfed record belongs to; None when everything is fed."""
    return int(events["recv_ns"][fed:].min()) if fed < len(events) else None


def joined(pieces: Sequence[FeatureRows]) -> FeatureRows:
    """Rows of consecutive calls as one."""
    return joined_rows(pieces, reasons=True)


def reasons_of(rows: FeatureRows) -> npt.NDArray[np.int8]:
    """The reasons that an engine always gives."""
    assert rows.reasons is not None
    return rows.reasons


def assert_same(one: FeatureRows, other: FeatureRows, cells: Mask | None = None, groups: Mask | None = None) -> None:
    """Same rows, values to the bit, reasons and statuses; of the cells and groups given, else of all."""
    assert one.row_ns.tolist() == other.row_ns.tolist()
    different = (one.values.view(np.int64) != other.values.view(np.int64)) | (reasons_of(one) != reasons_of(other))
    if cells is not None:
        different &= cells
    assert not different.any(), describe(one, other, different)
    unlike = one.status != other.status
    if groups is not None:
        unlike &= groups
    assert not unlike.any(), (
        f"status of {one.feature_set.groups[int(np.argwhere(unlike)[0][1])].name} differs at row "
        f"{one.row_ns[int(np.argwhere(unlike)[0][0])]}"
    )


def describe(one: FeatureRows, other: FeatureRows, different: Mask) -> str:
    """The first cell that differs."""
    row, column = np.argwhere(different)[0]
    return (
        f"{one.feature_set.columns[column]} at {one.row_ns[row]}: {one.values[row, column]!r} with reason "
        f"{reasons_of(one)[row, column]} against {other.values[row, column]!r} with reason "
        f"{reasons_of(other)[row, column]}"
    )


def second_of(time_ns: int) -> int:
    """The whole second that a time falls in, ns."""
    return floor_to(time_ns, SECOND_NS)
