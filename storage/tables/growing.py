"""Tables as they grow: while files stand as they did, only those that were added are read.

A process that computes every few minutes keeps what it read. It reads all files again when one was changed or is gone,
when one was added that sorts before others, or when a row came that was known before others of its key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from market.clock import SECOND_NS, Clock
from storage.tables.digests import keep_digests
from storage.tables.mapping import TableMapping
from storage.tables.reading import MOST_EXAMPLES, Table, TableReport, read_table
from transforms.known_rows import KnownRows

_STILL_NS: Final = 2 * SECOND_NS
"""A file that was changed this recently may be changed again within the resolution of its file system's times."""
Standing = Mapping[Path, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class _Read:
    files: Standing
    table: Table


class GrowingTables:
    """What was read of each table; one thread at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read: dict[str, _Read] = {}

    def read(self, mapping: TableMapping) -> Table:
        """As ``read_table`` does, to the bit."""
        begun_ns = self._clock.now_ns()
        files = _standing(mapping)
        held = self._read.get(mapping.table)
        if held is not None and held.table.mapping == mapping:
            table = _grown(held, mapping, files) or read_table(mapping)
        else:
            table = read_table(mapping)
        is_still = all(changed_ns < begun_ns - _STILL_NS for _, changed_ns, _ in files.values())
        if is_still and files == _standing(mapping):
            self._read[mapping.table] = _Read(files, table)
        return table


def _standing(mapping: TableMapping) -> Standing:
    """Of each file its size, when it was changed, and which one it is."""
    stats = {file: file.stat() for file in mapping.files()}
    return {file: (found.st_size, found.st_mtime_ns, found.st_ino) for file, found in stats.items()}


def _grown(held: _Read, mapping: TableMapping, files: Standing) -> Table | None:
    """The table that was read and the files since; None where that is not all there is to it."""
    added = [file for file in files if file not in held.files]
    if any(files.get(file) != stood for file, stood in held.files.items()):
        return None
    if not added:
        return held.table
    if min(added) < max(held.files):
        return None
    before, more = held.table, read_table(mapping, added)
    rows, restated, unsorted = dict(before.rows), 0, 0
    for key, new in more.rows.items():
        old = rows.get(key)
        if old is not None:
            if new.known_ns[0] <= old.known_ns[-1]:
                return None
            restated += _said_again(old, new)
            unsorted += before.ends[key][1] > more.ends[key][0]
        rows[key] = new if old is None else _joined(old, new)
    report = _of_both(before.report, more.report, keys=len(rows), restated=restated, unsorted=unsorted)
    ends = {
        **more.ends,
        **{key: (first, more.ends.get(key, (0, last))[1]) for key, (first, last) in before.ends.items()},
    }
    return Table(mapping, {key: rows[key] for key in sorted(rows)}, report, ends)


def _joined(old: KnownRows, new: KnownRows) -> KnownRows:
    joined = KnownRows(
        np.concatenate([old.event_ns, new.event_ns]),
        np.concatenate([old.known_ns, new.known_ns]),
        {name: np.concatenate([column, new.columns[name]]) for name, column in old.columns.items()},
        None if old.item is None or new.item is None else np.concatenate([old.item, new.item]),
    )
    keep_digests(joined, old)
    return joined


def _said_again(old: KnownRows, new: KnownRows) -> int:
    """How many events and items of the new rows the old ones told before."""
    if new.event_ns.min() > old.event_ns.max():
        return 0
    again = np.intersect1d(old.event_ns, new.event_ns)
    if len(again) == 0 or old.item is None or new.item is None:
        return len(again)
    told = [
        set(zip(rows.event_ns[places].tolist(), rows.item[places].tolist(), strict=True))
        for rows in (old, new)
        if rows.item is not None
        for places in [np.isin(rows.event_ns, again)]
    ]
    return len(told[0] & told[1])


def _of_both(before: TableReport, more: TableReport, *, keys: int, restated: int, unsorted: int) -> TableReport:
    return TableReport(
        rows=before.rows + more.rows,
        keys=keys,
        counted=before.counted + more.counted,
        restated=before.restated + more.restated + restated,
        duplicated=before.duplicated + more.duplicated,
        unsorted=before.unsorted + more.unsorted + unsorted,
        refused=dict(Counter(before.refused) + Counter(more.refused)),
        examples=(*before.examples, *more.examples)[:MOST_EXAMPLES],
    )
