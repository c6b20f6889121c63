"""One feature view joined to the entity rows.

1. Partitions, statistics, times and TTL choose the files and row groups.
2. Partition by partition of the keys, keys and times alone are read and searched.
3. The features are read from those row groups alone that hold an answer, and put where they belong: column by column
   where a row group is large.

Threads share the partitions of step 2, then the row groups and columns of step 3.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feature_repo.as_of_join import (
    NO_GROUP,
    NO_ROW,
    Int64Array,
    as_of_positions,
    oldest_ns,
    sorting_order,
    times_ns,
)
from feature_repo.asked_view import AskedView
from feature_repo.entity_rows import EntityRows, GroupedRows, values_as_held
from feature_repo.gathering import GatheredColumn
from feature_repo.parquet_source import ParquetSource
from feature_repo.selected_files import SelectedFile, Selection, row_groups

_DECODED_VALUES: Final = 1 << 20
"""How many values a thread decodes at once: 8 MiB of numbers."""
_FAR_THREADS: Final = 8
"""For files of an object store."""


@dataclass(frozen=True, slots=True)
class ViewJoin:
    """A view whose files and row groups are chosen for the entity rows of a retrieval, or for parts of them."""

    view: AskedView
    selection: Selection
    bitemporal: bool

    @classmethod
    def of(cls, repo_path: Path | None, view: AskedView, rows: EntityRows | None, *, bitemporal: bool) -> ViewJoin:
        """Choose what has to be read, of everything where ``rows`` are not known yet.

        Raises InvalidRequest, NotFound and CorruptStore as ``ParquetSource`` does.
        """
        bounds: dict[str, Any] = {"low_ns": None, "high_ns": None} if rows is None else _bounds(view, rows)
        source = ParquetSource.open(repo_path, view.source, view.declared)
        selection = source.select(view.columns, time_field=view.timestamp, declared=view.declared, **bounds)
        return cls(view, selection, bitemporal or view.is_known_when_created)

    def narrowed(self, rows: EntityRows) -> ViewJoin:
        """The same for some of the rows: what those alone need."""
        selection = self.selection.narrowed(time_field=self.view.timestamp, **_bounds(self.view, rows))
        return replace(self, selection=selection)

    def join(self, rows: EntityRows) -> pa.Table:
        """The view's features for each entity row, null where it has no row."""
        view, types = self.view, self.selection.types
        grouped = rows.grouped(tuple(view.keys))
        values = [
            values_as_held(known, types[raw], f"entity_df.{name}", f"{view.source.name}.{raw}")
            for known, (name, raw) in zip(grouped.values, view.keys.items(), strict=True)
        ]
        columns = {raw: GatheredColumn(types[raw], len(rows.ns)) for raw in view.features.values()}
        is_found = np.zeros(len(rows.ns), np.bool_)
        # Decoding, searching and gathering leave the interpreter to others: threads take all cores, and more of them
        # where most of their time is waiting.
        is_local = all(file.is_local for file in self.selection.files)
        with ThreadPoolExecutor(max(pa.cpu_count(), 0 if is_local else _FAR_THREADS), "as-of join") as pool:
            found = list(pool.map(lambda part: self._find(part, grouped, values), self._parts(grouped, values)))
            answers = [answer for of_part, _ in found for answer in of_part]
            for answer in answers:
                is_found[answer.places] = True
            # Column by column: what is put lies in memory that was just written to.
            place = {raw: at for at, raw in enumerate(columns)}
            reads = [(answer, raws) for answer in answers for raws in answer.reads(list(columns))]
            reads.sort(key=lambda read: place[read[1][0]])
            for _ in pool.map(lambda read: self._gather(read[0], {raw: columns[raw] for raw in read[1]}), reads):
                pass  # an error of a thread is raised here
        if not answers and any(is_hidden for _, is_hidden in found):
            warnings.warn(
                f"{view.name}: every row was created after the requested time ({view.created}), so all of its features "
                "are null; if its creation is not its availability, read without bitemporal",
                stacklevel=2,
            )
        finished = [columns[raw].finish(is_found) for raw in view.features.values()]
        return pa.Table.from_arrays(finished, names=list(view.features))

    def _parts(self, grouped: GroupedRows, values: list[pa.Array[Any]]) -> Iterator[_Part]:
        """The files of each partition by keys, with the ordered entity rows that ask for them.

        A key that has all its rows in a partition of its own needs no other: this is what bounds the memory.
        """
        first = grouped.first_rows()
        raws = list(self.view.keys.values())
        if any(not file.partition.keys() >= set(raws) for file in self.selection.files) or not raws:
            yield _Part(self.selection.files, slice(int(first[0]), int(first[-1])), None)
            return
        by_partition: dict[tuple[Any, ...], list[SelectedFile]] = {}
        for file in self.selection.files:
            by_partition.setdefault(tuple(file.partition[raw] for raw in raws), []).append(file)
        for partition, files in by_partition.items():
            held = [
                pa.chunked_array([pa.array([value], self.selection.types[raw])])
                for raw, value in zip(raws, partition, strict=True)
            ]
            [group] = grouped.groups_of(values, held, 1)
            if group != NO_GROUP:
                yield _Part(files, slice(int(first[group]), int(first[group + 1])), int(group))

    def _find(self, part: _Part, grouped: GroupedRows, values: list[pa.Array[Any]]) -> tuple[list[_Answers], bool]:
        """Find the rows of a part by keys and times alone: the answers of each row group that holds one.

        Also whether there is none only because each was created later.
        """
        view, asked = self.view, part.asked
        asked_ns = grouped.ns[asked]
        if len(asked_ns) == 0:
            return [], False
        group, event_ns, created_ns = self._searched(part, grouped, values)
        is_wanted = (group != NO_GROUP) & (event_ns <= asked_ns.max())
        wanted: Int64Array | None = None
        if np.count_nonzero(is_wanted) * 2 < len(is_wanted):  # else to leave out costs more than to search
            wanted = np.flatnonzero(is_wanted)
            group, event_ns = group[wanted], event_ns[wanted]
            created_ns = None if created_ns is None else created_ns[wanted]
        find = partial(
            as_of_positions,
            grouped.group[asked],
            asked_ns,
            row_group=group,
            event_ns=event_ns,
            created_ns=created_ns,
            ttl_ns=view.ttl_ns,
        )
        position = find(bitemporal=self.bitemporal)
        found = position != NO_ROW
        if not found.any():
            is_hidden = self.bitemporal and created_ns is not None
            return [], bool(is_hidden and (find(bitemporal=False) != NO_ROW).any())
        places: Int64Array = grouped.order[asked][found]
        position = position[found] if wanted is None else wanted[position[found]]
        by_position = sorting_order(position)
        places, position = places[by_position], position[by_position]

        begin = 0
        answers = []
        for file in part.files:
            edges = begin + np.cumsum([0, *file.row_counts])
            begin = int(edges[-1])
            cuts = np.searchsorted(position, edges)
            for at in np.flatnonzero(cuts[:-1] < cuts[1:]).tolist():
                inside = slice(cuts[at], cuts[at + 1])
                answers.append(_Answers(file, at, places[inside], position[inside] - edges[at]))
        return answers, False

    def _searched(
        self, part: _Part, grouped: GroupedRows, values: list[pa.Array[Any]]
    ) -> tuple[Int64Array, Int64Array, Int64Array | None]:
        """Group, event and creation of each row of the part."""
        view, thing = self.view, self.view.source.name
        keys = list(view.keys.values()) if part.group is None else []
        times = [view.timestamp, *([view.created] if view.created else [])]
        types = {raw: self.selection.types[raw] for raw in (*keys, *times)}
        groups, events, creations = ([np.empty(0, np.int64)] for _ in range(3))
        for read in row_groups(part.files, types, dictionaries=keys):
            if part.group is None:
                groups.append(grouped.groups_of(values, [read[raw] for raw in keys], read.num_rows))
            events.append(times_ns(read[view.timestamp], f"{thing}.{view.timestamp}"))
            if view.created is not None:
                creations.append(times_ns(read[view.created], f"{thing}.{view.created}"))
        event_ns = np.concatenate(events)
        return (
            np.concatenate(groups) if part.group is None else np.full(len(event_ns), part.group, np.int64),
            event_ns,
            None if view.created is None else np.concatenate(creations),
        )

    def _gather(self, answer: _Answers, columns: dict[str, GatheredColumn]) -> None:
        """Read these features of one row group and put them where they belong."""
        types = {raw: self.selection.types[raw] for raw in columns}
        for read in answer.file.read(types, only=[answer.row_group]):
            for raw, column in columns.items():
                column.put(answer.places, read[raw], answer.positions)


def _bounds(view: AskedView, rows: EntityRows) -> dict[str, Any]:
    """The keys of the rows, and the times between which what answers them lies."""
    times = rows.ns if len(rows.ns) else np.zeros(1, np.int64)  # no entity row still asks for the columns' types
    return {
        "low_ns": None if view.ttl_ns is None else int(oldest_ns(times.min(keepdims=True), view.ttl_ns)[0]),
        "high_ns": int(times.max()),
        "keys": dict(zip(view.keys.values(), rows.grouped(tuple(view.keys)).values, strict=True)),
    }


@dataclass(frozen=True, slots=True)
class _Part:
    """Files that are searched together, and the ordered entity rows that ask for them.

    group: of all their rows, where a partition has the keys; else each row says its own.
    """

    files: list[SelectedFile]
    asked: slice
    group: int | None


@dataclass(frozen=True, slots=True)
class _Answers:
    """What one row group answers: the value at ``positions`` of it belongs to the entity rows at ``places``."""

    file: SelectedFile
    row_group: int
    """Which of the file's ``row_counts``."""
    places: Int64Array
    positions: Int64Array

    def reads(self, raws: Sequence[str]) -> Iterator[Sequence[str]]:
        """The columns that are read together: few enough that what was decoded is still in the cache."""
        count = len(raws)
        if self.file.is_local:
            count = max(1, _DECODED_VALUES // self.file.row_counts[self.row_group])
        for begin in range(0, len(raws), max(1, count)):
            yield raws[begin : begin + count]
