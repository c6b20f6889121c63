"""Table rows: features of tables in drawn rows, computed again of what alone their tables knew at the sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_repo.freshness import table_group
from storage.tables.reading import Table
from training_sets.checks.blinding import Known, accuse_joined, first_difference
from training_sets.checks.drawn import LEAST_DRAWN
from training_sets.samples.columns import DatasetFeatures
from transforms.known_rows import KnownRows
from transforms.table_group import ALL, TableGroup

MOST_COMPUTED: Final = 5_000
"""Rows of a view, fewer where each is made of all symbols: some ten seconds of the groups of daily bars."""

Float64s = npt.NDArray[np.float64]


def check_table_rows(
    rows: Sequence[Known], features: DatasetFeatures, tables: Mapping[str, Table], *, on_rows: bool
) -> dict[str, Any]:
    """Compute the values of drawn rows again; how many were compared, nothing where no view stands on tables.

    The functions are given the rows that were known at the sample and no other. A view whose table is not there any
    more is named instead. Of more than MOST_COMPUTED rows so many are taken, evenly, for all symbols have the same
    functions. on_rows: whether a sample without a row is acted on by nobody. Raises InvalidRequest naming
    the first value that differs.
    """
    places: dict[str, list[int]] = {}
    for at, reference in enumerate(features.references):
        if table_group(view := reference.partition(":")[0]) is not None:
            places.setdefault(view, []).append(at)
    if not places:
        return {}
    asked = [row for row in rows if row.row_ns is not None or not on_rows]
    compared, lacking = 0, []
    for view, of_view in places.items():
        group = table_group(view)
        assert group is not None, "places are of views that stand on tables"
        if not any(table in tables for table in group.tables):
            lacking.append(view)
            continue
        keys = max(len(tables[table].rows) for table in group.tables if table in tables)
        most = max(LEAST_DRAWN, MOST_COMPUTED // (keys if group.is_shared else 1))
        names = [features.references[at].partition(":")[2] for at in of_view]
        columns = [[each.name for each in group.columns].index(name) for name in names]
        for row in asked[:: -(-len(asked) // most) or 1]:
            expected = _answer(group, tables, row.drawn.symbol, row.had_ns)[columns]
            if (differing := first_difference(expected, row.drawn.values[of_view])) is not None:
                accuse_joined(row, of_view[differing], float(expected[differing]), features)
            compared += 1
    return {"table_rows_computed_again": compared, "table_views_not_computed": lacking}


def _answer(group: TableGroup, tables: Mapping[str, Table], symbol: str, time_ns: int) -> Float64s:
    """What the group says of a symbol at a time, (columns,), by the rows that were known then."""
    known = {
        table: {
            key: then
            for key, rows in tables[table].rows.items()
            if key == symbol or group.is_shared
            for then in [rows.until(time_ns)]
            if len(then.event_ns) > 0
        }
        for table in group.tables
        if table in tables
    }
    key = ALL if group.is_for_all else symbol
    computed = group.computed(known, until_ns=time_ns, after_ns=_since(group, known, key, time_ns)).get(key)
    nothing = np.full(len(group.columns), np.nan)
    if computed is None or len(computed.event_ns) == 0:
        return nothing
    last = int(np.lexsort((computed.created_ns, computed.event_ns))[-1])
    is_answer = computed.event_ns[last] >= time_ns - group.time_to_live_ns
    return computed.values[last] if is_answer else nothing


def _since(
    group: TableGroup, known: Mapping[str, Mapping[str, KnownRows]], key: str, time_ns: int
) -> dict[str, int] | None:
    """What is created later is enough: rows of the newest event, or a moment that still answers."""
    if not group.is_of_rows:
        return {key: time_ns - group.time_to_live_ns - 1}
    own = known[group.tables[0]].get(key) if group.tables[0] in known else None
    # A section is of what others knew then, each by its newest row until the key's own.
    return None if own is None else dict.fromkeys(known[group.tables[0]], int(own.known_ns.max()) - 1)
