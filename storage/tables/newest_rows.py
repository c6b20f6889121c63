"""The newest row of each key in a log of table features; a part is read once, for it is never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.durable_files import FileVersion, file_version
from storage.parquet_files import opened_parquet
from storage.places import Place
from storage.tables.feature_log import log_parts
from transforms.table_group import ALL


@dataclass(frozen=True, slots=True)
class NewestRow:
    """What time it is of, and from when on it could be known."""

    event_ns: int
    created_ns: int


class NewestRows:
    """What was read of the parts of some logs; one thread at a time."""

    def __init__(self) -> None:
        self._read: dict[tuple[Place, FileVersion], dict[str, NewestRow]] = {}

    def of(self, folder: Place) -> Mapping[str, NewestRow]:
        """By key; the key of rows that are the same for all is ALL. Raises CorruptStore."""
        newest: dict[str, NewestRow] = {}
        read = {}
        for part in log_parts(folder):
            try:
                place = (part, file_version(part))
            except FileNotFoundError:  # replaced by a whole one since it was listed
                continue
            read[place] = self._read[place] if place in self._read else _newest(part)
            newest |= read[place]
        self._read = {place: of for place, of in self._read.items() if place[0].parent != folder} | read
        return newest


def _newest(part: Place) -> dict[str, NewestRow]:
    """The last row of each key: rows are written by key and creation, and no later one is of an earlier event."""
    with opened_parquet(part) as file:
        held = file.schema_arrow.names
        names = [name for name in ("symbol", "event_timestamp", "created_timestamp") if name in held]
        table = file.read(columns=names)
    if "symbol" in names and table.num_rows:
        symbols = table["symbol"].combine_chunks()
        is_last = np.append(pc.not_equal(symbols[1:], symbols[:-1]).to_numpy(zero_copy_only=False), True)
        table = table.take(np.flatnonzero(is_last))
    times = (table[name].cast(pa.int64()).to_pylist() for name in ("event_timestamp", "created_timestamp"))
    keys = table["symbol"].to_pylist() if "symbol" in names else [ALL] * table.num_rows
    return {key: NewestRow(event_ns, created_ns) for key, event_ns, created_ns in zip(keys, *times, strict=True)}
