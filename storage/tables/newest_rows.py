"""The newest rows of the logs of tables: when each key's were known, as a look at what is served must know it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from market.errors import CorruptStore
from storage.parquet_files import reading_parquet
from transforms.table_group import ALL

MOST_KEPT: Final = 64
"""Of a key in a part, the last ones."""

Int64s = npt.NDArray[np.int64]


class NewestRows:
    """Reads each part of a log once; a part never changes."""

    def __init__(self) -> None:
        self._parts: dict[Path, dict[str, Int64s]] = {}

    def known_by(self, folder: Path, until_ns: int) -> dict[str, int]:
        """When the newest row of each key was known that was by then, ns; without keys that have none.

        Raises CorruptStore.
        """
        parts = {
            part: self._parts[part] if part in self._parts else _read(part)
            for part in sorted(folder.glob("part-*.parquet"))
        }
        newest: dict[str, int] = {}
        for known in parts.values():
            for key, known_ns in known.items():
                at = int(np.searchsorted(known_ns, until_ns, side="right"))
                if at:
                    newest[key] = max(newest.get(key, 0), int(known_ns[at - 1]))
        # Without those that others took the place of.
        self._parts = {part: known for part, known in self._parts.items() if part.parent != folder} | parts
        return newest


def _read(part: Path) -> dict[str, Int64s]:
    """When the last rows of each key were known, ascending; of none where the part was replaced meanwhile."""
    try:
        with reading_parquet(part), pq.ParquetFile(part) as file:
            has_key = "symbol" in file.schema_arrow.names
            table = file.read(columns=[*(["symbol"] if has_key else []), "created_timestamp"])
    except (CorruptStore, FileNotFoundError):
        if part.exists():
            raise
        return {}
    known_ns = table.column("created_timestamp").cast(pa.int64()).to_numpy()
    if not has_key:
        return {ALL: np.sort(known_ns)[-MOST_KEPT:]} if len(known_ns) else {}
    keys = table.column("symbol").combine_chunks().dictionary_encode()
    number = keys.indices.to_numpy()
    order = np.lexsort((known_ns, number))
    cuts = np.flatnonzero(np.diff(number[order])) + 1
    names = keys.dictionary.to_pylist()
    return {names[number[of_key[0]]]: known_ns[of_key][-MOST_KEPT:] for of_key in np.split(order, cuts) if len(of_key)}
