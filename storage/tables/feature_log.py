"""Feature rows of a table in Parquet: a part for each run that had something to add, which Feast's view reads.

A part names, for each key, how many rows of the table it was made of and their digest. While a table only grows, its
next part holds the rows since; where a row came late, with a known time that was computed already, or was changed in
place, the rows of all keys are computed again and take the place of the parts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.durable_files import changing_files, make_folder, replace_file
from storage.parquet_files import reading_parquet
from transforms.known_rows import ComputedRows, KnownRows, computed_rows
from transforms.table_feature import KNOWN_AT, TableFeature, table_fingerprint

_SEEN: Final = b"table_rows_seen"
_WHOLE: Final = b"table_whole"
"""Marks a part that needs none before it."""
_PART: Final = "part-*.parquet"
_UTC: Final = pa.timestamp("ns", "UTC")


@dataclass(frozen=True, slots=True)
class Extension:
    """What a run did: rows written, and whether all of them were computed again."""

    rows: int
    is_rewritten: bool


def table_log_folder(features_folder: Path, features: Sequence[TableFeature]) -> Path:
    """Where the rows of a group lie: another folder when its code changes."""
    return features_folder / features[0].group / table_fingerprint(features)


def extend_table_log(
    folder: Path, features: Sequence[TableFeature], rows: Mapping[str, KnownRows], *, now_ns: int
) -> Extension:
    """Write what is known at ``now_ns`` and not in the log yet; run twice it does nothing the second time.

    One writer at a time. Raises StoreUnavailable, CorruptStore.
    """
    known = {key: held.until(now_ns) for key, held in rows.items()}
    parts, seen = _parts(folder)
    is_grown = all(key in known and _holds(known[key], before) for key, before in seen.items())
    if not is_grown:
        seen = {}
    computed: dict[str, ComputedRows] = {}
    now_seen: dict[str, Any] = {}
    for key, held in known.items():
        after = seen.get(key)
        if len(held.event_ns) == 0 or (after is not None and after["rows"] == len(held.event_ns)):
            continue
        computed[key] = computed_rows(held, features, after_ns=None if after is None else after["known_ns"])
        now_seen[key] = {
            "rows": len(held.event_ns),
            "known_ns": int(held.known_ns[-1]),
            "digest": _digest(held, len(held.event_ns)),
        }
    if not now_seen:
        return Extension(0, is_rewritten=False)
    number = 1 + max((int(part.stem.rpartition("-")[2]) for part in parts), default=-1)
    table = _table(computed, features)
    notes = {_SEEN: json.dumps(now_seen).encode(), _WHOLE: b"yes" if not seen else b"no"}
    table = table.replace_schema_metadata(notes)
    make_folder(folder)
    replace_file(folder / f"part-{number:08d}.parquet", lambda file: pq.write_table(table, file))
    if not is_grown:
        _remove(parts)
    return Extension(table.num_rows, is_rewritten=not is_grown)


def _parts(folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """The parts that count, and what they were made of by key; those that a whole one replaced are removed."""
    parts = sorted(folder.glob(_PART))
    seen: dict[str, Any] = {}
    for at, part in enumerate(parts):
        with reading_parquet(part):
            notes = pq.read_schema(part).metadata or {}
        if notes.get(_WHOLE) == b"yes" and at:
            _remove(parts[:at])  # a run ended before it did
            return _parts(folder)
        seen |= json.loads(notes.get(_SEEN, b"{}"))
    return parts, seen


def _remove(parts: Sequence[Path]) -> None:
    for part in parts:
        with changing_files(part):
            part.unlink()


def _holds(rows: KnownRows, before: Mapping[str, Any]) -> bool:
    """Whether the rows begin with those seen before, and go on later than they ended."""
    count, last_ns = int(before["rows"]), int(before["known_ns"])
    if len(rows.event_ns) < count or _digest(rows, count) != before["digest"]:
        return False
    return len(rows.event_ns) == count or int(rows.known_ns[count]) > last_ns


def _digest(rows: KnownRows, count: int) -> str:
    digest = hashlib.sha256()
    for name, held in (("event", rows.event_ns), ("known", rows.known_ns), *sorted(rows.columns.items())):
        digest.update(name.encode())
        digest.update(held[:count].tobytes())
    return digest.hexdigest()


def _table(computed: Mapping[str, ComputedRows], features: Sequence[TableFeature]) -> pa.Table:
    """Rows by key and time of creation, in the columns of the view."""
    counts = [len(each.event_ns) for each in computed.values()]
    created = np.concatenate([each.created_ns for each in computed.values()])
    values = np.concatenate([each.values for each in computed.values()])
    columns: dict[str, Any] = {
        "symbol": pa.array(np.repeat(list(computed), counts).tolist(), pa.string()),
        "event_timestamp": pa.array(np.concatenate([each.event_ns for each in computed.values()])).cast(_UTC),
        "created_timestamp": pa.array(created).cast(_UTC),
        # Rounded up: nothing is told before it was known.
        KNOWN_AT: pa.array(-(-created // 1000), pa.int64()),
    }
    columns |= {each.name: pa.array(values[:, at]) for at, each in enumerate(features)}
    return pa.table(columns)
