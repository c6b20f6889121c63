"""Rebuild: the same compiled kernel fed from raw Parquet instead of from messages."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np

from market.clock import MILLISECOND_NS, SECOND_NS, floor_to
from market.errors import InvalidRequest
from market.events import FIRST, ORDERBOOK, SNAPSHOT, Events
from storage.feature_log import FeatureLogWriter
from storage.raw_events import read_events
from storage.raw_manifest import raw_period, read_instrument
from transforms.catalogue import set_horizon_ns, set_kinds
from transforms.engine import Engine
from transforms.plan import Kernel
from transforms.rows import FeatureRows

AVAILABILITY_DELAY_NS: Final = 10 * MILLISECOND_NS
"""When a rebuilt row counts as available after its row time: the grace after which a live row closes."""


def rebuild_rows(
    raw_folder: Path, symbol: str, kernel: Kernel, *, from_ns: int | None = None, to_ns: int | None = None
) -> FeatureRows:
    """The rows of a symbol with ``from_ns <= row time <= to_ns``, bit for bit those of an undisturbed live run.

    Starts from the last book snapshot that lies the largest horizon before ``from_ns``, or from the first message.
    to_ns: None ends with the last second that the raw data closes.

    Raises NotFound when there is no raw data of the symbol, InvalidRequest when the period is outside of it.
    """
    first_ns, last_ns = raw_period(raw_folder, symbol)
    end_ns = floor_to(last_ns if to_ns is None else to_ns, SECOND_NS)
    begin_ns = first_ns if from_ns is None else from_ns
    if end_ns <= first_ns or begin_ns > end_ns:
        raise InvalidRequest(
            f"rebuild of {symbol}: must reach into the raw data from {first_ns} to {last_ns}, "
            f"was {begin_ns} to {end_ns}"
        )
    kinds = set_kinds(kernel.feature_set)
    horizon_ns = set_horizon_ns(kernel.feature_set)
    start_ns = _start_before(raw_folder, symbol, kinds, begin_ns - horizon_ns, first_ns)
    events = read_events(raw_folder, symbol, kinds=kinds, from_ns=start_ns, to_ns=end_ns)
    engine = Engine(kernel, read_instrument(raw_folder, symbol), start_ns=start_ns)
    engine.feed(events)
    rows = engine.advance(end_ns)
    wanted = slice(int(np.searchsorted(rows.row_ns, begin_ns)), None)
    return FeatureRows(
        symbol,
        rows.feature_set,
        rows.row_ns[wanted],
        rows.values[wanted],
        rows.status[wanted],
        rows.reasons if rows.reasons is None else rows.reasons[wanted],
    )


def write_rebuilt(features_folder: Path, rows: FeatureRows) -> None:
    """Add rebuilt rows to a feature log, available a grace after their row time."""
    with FeatureLogWriter(features_folder) as log:
        log.append(rows, rows.row_ns + AVAILABILITY_DELAY_NS)


def _start_before(raw_folder: Path, symbol: str, kinds: Collection[int], latest_ns: int, first_ns: int) -> int:
    """Where to begin so that every row from ``latest_ns`` plus the horizon on is right."""
    if latest_ns <= first_ns:
        return first_ns
    if ORDERBOOK not in kinds:
        return latest_ns
    events = read_events(raw_folder, symbol, kinds={ORDERBOOK}, from_ns=first_ns, to_ns=latest_ns + 1)
    snapshots = _snapshot_times(events)
    return int(snapshots[-1]) if len(snapshots) > 0 else first_ns


def _snapshot_times(events: Events) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    is_snapshot = (events["kind"] == ORDERBOOK) & ((events["flags"] & (FIRST | SNAPSHOT)) == (FIRST | SNAPSHOT))
    return np.asarray(events["recv_ns"][is_snapshot], np.int64)
