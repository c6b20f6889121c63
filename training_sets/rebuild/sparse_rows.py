"""Sparse rows: rows of a symbol far from each other, each computed from no more of its past than it looks back at.

1. Klines, tickers and positions are few and are looked at for a day; the order book and trades are most of a tape and
   are looked at for minutes. Between two rows only the first are read; from the last book snapshot before a row's
   shorter horizon on, everything is. Where there is neither, as of candles alone, all is read once.
2. Rows whose days overlap share a run, of MOST_RUN_NS at most, so that memory holds a piece and no month of footers.
3. A row of a group that looks back at the book for longer than that differs, or is unknown, when it is computed so. Who
   compares rows computes those that differ once more by ``rebuild_rows_at``, which leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, SECOND_NS
from market.events import ORDERBOOK, TRADE, Events, empty_events
from storage.raw.events import first_message_ns, stream_events
from storage.raw.raw_data import RawData
from storage.raw.tables import TABLES
from training_sets.rebuild.rebuild import start_before
from transforms.catalogue import (
    FEATURES,
    GROUPS,
    group_horizon_ns,
    group_kinds,
    normalised_horizon_ns,
    set_horizon_ns,
    set_kinds,
)
from transforms.engine import FIELDS, Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, FeatureSet, joined_rows
from transforms.state import ORDER_NS

MOST_RUN_NS: Final = 4 * DAY_NS
MANY: Final = frozenset({ORDERBOOK, TRADE})
"""Kinds that are most of a tape."""
_MANY_TABLES: Final = frozenset(table for table, kind in TABLES if kind in MANY)

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """[from_ns, to_ns) of a run, and whether all kinds of events are read or only those that are few."""

    from_ns: int
    to_ns: int
    is_whole: bool


def sparse_runs(chosen: FeatureSet, row_ns: Int64s) -> list[Int64s]:
    """Row times, int64 (n,), ascending, cut where the horizon of the next row begins after the row before."""
    horizon_ns = set_horizon_ns(chosen)
    runs: list[list[int]] = []
    for at_ns in row_ns.tolist():
        if runs and at_ns - horizon_ns <= runs[-1][-1] and at_ns - runs[-1][0] <= MOST_RUN_NS:
            runs[-1].append(at_ns)
        else:
            runs.append([at_ns])
    return [np.array(run, np.int64) for run in runs]


def rebuild_sparse_rows(raw: RawData, symbol: str, kernel: Kernel, row_ns: Int64s) -> FeatureRows:
    """The rows of a symbol at the times of one run; a value is that of an undisturbed live run, or see step 3.

    row_ns: int64 (n,), n >= 1, ascending multiples of ORDER_NS after the first message.

    Raises NotFound when there is no raw data of the symbol, CorruptStore.
    """
    grid_ns = int(np.gcd.reduce(row_ns, initial=SECOND_NS))
    assert grid_ns % ORDER_NS == 0, grid_ns
    stretches = _stretches(raw, symbol, kernel.feature_set, row_ns)
    first_ns, _ = raw.period(symbol)
    parts = raw.parts(symbol)
    start_ns = stretches[0].from_ns
    history_ns = start_ns if start_ns > first_ns else first_message_ns(raw, parts)
    engine = Engine(kernel, raw.instrument(symbol), start_ns=history_ns, grid_ns=grid_ns)
    pieces, given, end_ns = [], 0, int(row_ns[-1])
    for records, least_ns in chain(_events(raw, symbol, kernel.feature_set, stretches), [(None, end_ns)]):
        engine.feed(empty_events() if records is None else records)
        due = int(np.searchsorted(row_ns, least_ns, side="right"))
        pieces.append(engine.rows_at(row_ns[given:due], min(least_ns, end_ns)))
        given = due
    return joined_rows(pieces)


def _stretches(raw: RawData, symbol: str, chosen: FeatureSet, row_ns: Int64s) -> list[_Stretch]:
    """What a run reads, without a hole between the first and the last."""
    first_ns, _ = raw.period(symbol)
    parts = raw.parts(symbol)
    near_ns = near_horizon_ns(chosen)
    kinds = set_kinds(chosen) & MANY
    begin_ns = max(first_ns, int(row_ns[0]) - set_horizon_ns(chosen))
    end_ns = int(row_ns[-1])
    if not any(file.table in _MANY_TABLES for part in parts if part.first_ns <= end_ns for file in part.files):
        # In stretches a day's row group would be decoded for each of its rows.
        return [_Stretch(begin_ns, end_ns, is_whole=True)]
    whole: list[tuple[int, int]] = []
    for at_ns in row_ns.tolist():
        from_ns = start_before(raw, parts, kinds, at_ns - near_ns, first_ns)
        if whole and from_ns <= whole[-1][1]:
            whole[-1] = (min(whole[-1][0], from_ns), at_ns)
        else:
            whole.append((from_ns, at_ns))
    stretches = []
    for from_ns, to_ns in whole:
        if begin_ns < from_ns:
            stretches.append(_Stretch(begin_ns, from_ns, is_whole=False))
        stretches.append(_Stretch(from_ns, to_ns, is_whole=True))
        begin_ns = to_ns
    return stretches


def _events(raw: RawData, symbol: str, chosen: FeatureSet, stretches: list[_Stretch]) -> Iterator[tuple[Events, int]]:
    kinds = set_kinds(chosen)
    for stretch in stretches:
        yield from stream_events(
            raw,
            symbol,
            kinds=kinds if stretch.is_whole else kinds - MANY,
            from_ns=stretch.from_ns,
            to_ns=stretch.to_ns,
            fields=FIELDS,
        )
        yield empty_events(), stretch.to_ns


def near_horizon_ns(chosen: FeatureSet) -> int:
    """How far back groups look that read the book or trades alone, and what is normalised of them."""
    groups = [group.name for group in chosen.groups if group.name in GROUPS]
    own_ns = [group_horizon_ns(name) for name in groups if group_kinds(name) and group_kinds(name) <= MANY]
    normalised_ns = [
        normalised_horizon_ns(column)
        for column in chosen.normalisations
        if group_kinds(FEATURES[column.feature].group) & MANY
    ]
    return max([0, *own_ns, *normalised_ns])
