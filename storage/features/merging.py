"""Merging: the many small parts that a day was served in become few, while they are read.

1. Parts that follow each other in the order in which they were written, of the same columns and with no rebuilt day
   between them, become one: every row with each of its created times, of equals the last written. So a reader finds
   what it found, whenever it asks and whatever it asks as of.
2. The merged part is published next to the others, with a note of what it holds. Both give the same answers.
3. What it holds goes an hour later, when no reader that listed it before should still want it; a reader that misses a
   file lists the folder again.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from market.clock import HOUR_NS
from market.errors import CorruptStore
from market.written_order import GENERATION, written_order
from storage.durable_files import changing_files, file_sha256, known_sha256, publish_files, remove_files, replace_file
from storage.features.part_times import AVAILABLE, part_times, times_in_microseconds
from storage.features.parts import PART, PART_FORMAT, generation, part_path, part_schema, parts_of_date
from storage.file_locks import exclusive
from storage.parquet_files import StagedParquet, opened_parquet
from storage.places import Place, matching

KEPT_NS: Final = HOUR_NS
"""How long merged parts stay next to the part they were merged into."""
FEWEST: Final = 2
ROW_GROUP_ROWS: Final = 6 * 3600
_NOTE: Final = ".merged"


@dataclass(frozen=True, slots=True)
class MergedDays:
    """Dates of a group and symbol of which parts were merged, and how many parts."""

    days: int
    parts: int


def merge_day(folder: Place, *, now_ns: int) -> int:
    """Merge the served parts of a group's date, and remove those merged KEPT_NS ago; how many parts were merged.

    folder: of the date. A merge that was killed leaves the parts as they were, or both them and the merged one.

    Raises CorruptStore when a part is damaged, StoreUnavailable when the disk refuses.
    """
    with exclusive(folder.parent / ".merging"):
        superseded = _remove_old(folder, now_ns)
        merged = 0
        for run in _runs(folder, superseded):
            if len(run) >= FEWEST:
                _merge(folder, run, now_ns)
                merged += len(run)
    return merged


def merge_days(root: Place, symbols: Collection[str] | None = None, *, now_ns: int) -> MergedDays:
    """``merge_day`` for every date of every group of some symbols, None is all. Raises what ``merge_day`` does."""
    folders = [
        folder
        for folder in matching(root, "*/*/symbol=*/date=*")
        if symbols is None or folder.parent.name.removeprefix("symbol=") in symbols
    ]
    counts = [merge_day(folder, now_ns=now_ns) for folder in folders if matching(folder, f"{PART}-*.parquet")]
    return MergedDays(sum(count > 0 for count in counts), sum(counts))


def superseded_parts(folder: Place) -> set[str]:
    """Names of a date's parts that are in a merged one next to them. Raises CorruptStore."""
    notes = [_read_note(path) for path in matching(folder, f"{_NOTE}-*.json")]
    return {name for note in notes if _is_published(folder, note) for name in note["parts"]}


def _runs(folder: Place, superseded: set[str]) -> list[list[Place]]:
    """Parts that may become one, in the order in which of equal rows the last wins."""
    parts = [path for path, _, _ in parts_of_date(folder)]
    ordered = sorted(parts, key=lambda part: written_order(str(part), generation(part)))
    kept = [path for path in ordered if path.name not in superseded]
    keys = [(path.name.startswith(f"{PART}-"), _columns(path)) for path in kept]
    runs = itertools.groupby(zip(keys, kept, strict=True), key=lambda each: each[0])
    return [[path for _, path in run] for (is_served, _), run in runs if is_served]


def _columns(path: Place) -> tuple[str, ...]:
    """Whatever its times are stated in."""
    return tuple(name for name in part_schema(path).names if name != AVAILABLE)


def _merge(folder: Place, run: Sequence[Place], now_ns: int) -> None:
    tables = []
    for path in run:
        with opened_parquet(path) as file:
            tables.append(times_in_microseconds(file.read()))
    table = pa.concat_tables(tables)
    event_ns, created_ns = part_times(table)
    order = np.lexsort((created_ns, event_ns))  # stable: of equals the last written stays last
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = (np.diff(event_ns[order]) != 0) | (np.diff(created_ns[order]) != 0)
    table = table.take(order[is_last]).combine_chunks()
    path = part_path(folder, int(event_ns.min()), int(event_ns.max()), over=run)
    staged = StagedParquet(path)
    try:
        metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != GENERATION.encode()}
        staged.open(table.schema.with_metadata(metadata), **PART_FORMAT)
        staged.write(table, row_group_rows=ROW_GROUP_ROWS)
        written = staged.finish({GENERATION: str(max(map(generation, run)))})
        note = {
            "merged": path.name,
            "sha256": file_sha256(written),
            "merged_ns": now_ns,
            "parts": [each.name for each in run if each != path],
        }
        replace_file(folder / f"{_NOTE}-{path.stem}.json", lambda file: file.write(json.dumps(note).encode()))
        publish_files({path: written})
    finally:
        staged.discard()


def _remove_old(folder: Place, now_ns: int) -> set[str]:
    """Remove what was merged long enough ago; the names of what was merged since."""
    superseded: set[str] = set()
    with changing_files(folder):
        for path in matching(folder, f"{_NOTE}-*.json"):
            note = _read_note(path)
            is_published = _is_published(folder, note)
            if is_published and now_ns - note["merged_ns"] < KEPT_NS:
                superseded.update(note["parts"])
                continue
            if is_published:
                remove_files(folder / name for name in note["parts"])
            path.unlink()
    return superseded


def _is_published(folder: Place, note: Mapping[str, Any]) -> bool:
    """Whether the part of a merge is there, and not one of that name from before."""
    merged = folder / note["merged"]
    return merged.is_file() and known_sha256(merged) == str(note["sha256"])


def _read_note(path: Place) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptStore(f"{path}: must be the note of a merge, was {error}") from error
    return note
