"""Feature rows of a table in Parquet: a part for each run that had something to add, which Feast's view reads.

A part names, for each table and key, how many rows it was made of and their digest, and until when. While tables only
grow, the next part holds the rows since; where a row came late, with a known time that was computed already, or was
changed in place, the rows of all keys are computed again and take the place of the parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from market.clock import MICROSECOND_NS
from storage.durable_files import changing_files, make_folder, replace_file
from storage.parquet_files import opened_parquet
from storage.places import Place, matching
from storage.tables.digests import digest_of
from transforms.known_rows import ComputedRows, KnownRows
from transforms.table_feature import KNOWN_AT
from transforms.table_group import ALL, TableGroup, Tables

_SEEN: Final = b"table_rows_seen"
_WHOLE: Final = b"table_whole"
"""Marks a part that needs none before it."""
_PART: Final = "part-*.parquet"
_UTC: Final = pa.timestamp("ns", "UTC")
_REPEATED: Final[Any] = ["symbol", "event_timestamp", "created_timestamp", KNOWN_AT]
"""Columns whose values keys or days share; a dictionary of any other would be made in vain."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What a run did: rows written, and whether all of them were computed again."""

    rows: int
    is_rewritten: bool


def table_log_folder(features_folder: Place, group: TableGroup) -> Place:
    """Where the rows of a group lie: another folder when its code changes."""
    return features_folder / group.name / group.fingerprint


def extend_table_log(folder: Place, group: TableGroup, tables: Tables, *, now_ns: int) -> Extension:
    """Write what is known at ``now_ns`` and not in the log yet; run twice it does nothing the second time.

    tables: those that the group reads, as far as there are any. One writer at a time. Raises StoreUnavailable,
    CorruptStore.
    """
    known = {table: {key: rows.until(now_ns) for key, rows in of.items()} for table, of in tables.items()}
    parts, before = _parts(folder)
    if before is not None and before.until_ns > now_ns:
        return Extension(0, is_rewritten=False)  # a clock that went back
    seen, is_grown = _seen(known, before, group)
    after = None if before is None or not is_grown else _after(known, before, group)
    unchanged = before is not None and is_grown and seen == before.rows
    if not seen or (unchanged and group.is_of_rows):
        return Extension(0, is_rewritten=False)
    computed = group.computed(known, until_ns=now_ns, after_ns=after)
    table = _table(computed, group)
    if table.num_rows == 0 and unchanged:
        return Extension(0, is_rewritten=False)
    number = 1 + max((int(part.stem.rpartition("-")[2]) for part in parts), default=-1)
    notes = {
        _SEEN: json.dumps({"until_ns": now_ns, "rows": _changed(seen, before if is_grown else None)}).encode(),
        _WHOLE: b"yes" if before is None or not is_grown else b"no",
    }
    table = table.replace_schema_metadata(notes)
    make_folder(folder)
    replace_file(
        folder / f"part-{number:08d}.parquet", lambda file: pq.write_table(table, file, use_dictionary=_REPEATED)
    )
    if not is_grown:
        _remove(parts)
    return Extension(table.num_rows, is_rewritten=not is_grown)


def log_parts(folder: Place) -> list[Place]:
    """The parts of a log as they were written."""
    return matching(folder, _PART)


def newest_known_ns(folder: Place, table: str) -> int | None:
    """When the newest row of a table that the log was made of was known; None where it was made of none."""
    newest: int | None = None
    for part in log_parts(folder):
        with opened_parquet(part, is_checked=False) as file:
            noted = json.loads((file.schema_arrow.metadata or {}).get(_SEEN, b'{"rows": {}}'))
        for place, rows in noted["rows"].items():
            if json.loads(place)[0] == table:
                newest = max(int(rows["known_ns"]), newest or 0)
    return newest


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a log was made of. rows: by table and key how many, when the last was known, and their digest."""

    until_ns: int
    rows: dict[str, dict[str, Any]]


def _seen(
    known: Mapping[str, Mapping[str, KnownRows]], before: _Seen | None, group: TableGroup
) -> tuple[dict[str, dict[str, Any]], bool]:
    """What the tables hold, and whether that continues what was seen before without changing what was known."""
    held = {
        json.dumps([table, key]): rows for table, of in known.items() for key, rows in of.items() if len(rows.event_ns)
    }
    earlier = {} if before is None else before.rows
    is_grown = all(place in held for place in earlier)
    seen = {}
    for place, rows in held.items():
        old = earlier.get(place)
        count = len(rows.event_ns)
        if old is not None and not _holds(rows, old):
            is_grown = False
        if old is not None and old["rows"] == count and is_grown:
            seen[place] = old
            continue
        seen[place] = {"rows": count, "known_ns": int(rows.known_ns[-1]), "digest": digest_of(rows, count)}
        first_new = 0 if old is None else min(old["rows"], count - 1)
        is_late = before is not None and rows.known_ns[first_new] <= before.until_ns
        # A row of one key's table alone is late only for that key, which is computed from where it was.
        if is_late and not (group.is_of_rows and not group.is_shared):
            is_grown = False
    return seen, is_grown


def _after(known: Mapping[str, Mapping[str, KnownRows]], before: _Seen, group: TableGroup) -> dict[str, int]:
    """Until when the rows of each key are in the log."""
    if group.is_of_rows and not group.is_shared:
        return {json.loads(place)[1]: int(rows["known_ns"]) for place, rows in before.rows.items()}
    return dict.fromkeys([ALL, *(key for of in known.values() for key in of)], before.until_ns)


def _changed(seen: Mapping[str, dict[str, Any]], before: _Seen | None) -> dict[str, dict[str, Any]]:
    return {place: rows for place, rows in seen.items() if before is None or before.rows.get(place) != rows}


def _parts(folder: Place) -> tuple[list[Place], _Seen | None]:
    """The parts that count, and what they were made of; those that a whole one replaced are removed."""
    parts = log_parts(folder)
    seen: _Seen | None = None
    for at, part in enumerate(parts):
        with opened_parquet(part, is_checked=False) as file:
            notes = file.schema_arrow.metadata or {}
        if notes.get(_WHOLE) == b"yes" and at:
            _remove(parts[:at])  # a run ended before it did
            return _parts(folder)
        noted = json.loads(notes[_SEEN])
        seen = _Seen(noted["until_ns"], {**({} if seen is None else seen.rows), **noted["rows"]})
    return parts, seen


def _remove(parts: Sequence[Place]) -> None:
    for part in parts:
        with changing_files(part):
            part.unlink()


def _holds(rows: KnownRows, before: Mapping[str, Any]) -> bool:
    """Whether the rows begin with those seen before, and continue later than they ended."""
    count, last_ns = int(before["rows"]), int(before["known_ns"])
    if len(rows.event_ns) < count or digest_of(rows, count) != before["digest"]:
        return False
    return len(rows.event_ns) == count or int(rows.known_ns[count]) > last_ns


def _table(computed: Mapping[str, ComputedRows], group: TableGroup) -> pa.Table:
    """Rows by key and time of creation, in the columns of the view."""
    counts = [len(each.event_ns) for each in computed.values()]
    created = np.concatenate([each.created_ns for each in computed.values()])
    values = np.concatenate([each.values for each in computed.values()])
    columns: dict[str, Any] = {
        "event_timestamp": pa.array(np.concatenate([each.event_ns for each in computed.values()])).cast(_UTC),
        "created_timestamp": pa.array(created).cast(_UTC),
        # Rounded up: nothing is told before it was known.
        KNOWN_AT: pa.array(-(-created // MICROSECOND_NS), pa.int64()),
    }
    if not group.is_for_all:
        symbols = pa.array(list(computed), pa.string())
        columns = {"symbol": symbols.take(np.repeat(np.arange(len(counts)), counts)), **columns}
    columns |= {each.name: pa.array(values[:, at]) for at, each in enumerate(group.columns)}
    return pa.table(columns)
