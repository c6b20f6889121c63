"""Entity rows in Parquet files: a file, a folder or a hive-partitioned folder, here or in an object store.

They are read in pieces of whole row groups, in physical order, so that a frame need not fit into memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.entity_rows import EntityRows, time_column
from feature_repo.parquet_source import ParquetSource
from feature_repo.selected_files import Selection
from market.errors import InvalidRequest

_NAME: Final = "entity_df"
_SQL: Final = re.compile(r"\s*(select|with)\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EntityFiles:
    """Entity rows that are still in their files; row_groups: of ``selection``, as file and which of its row groups."""

    selection: Selection
    row_groups: tuple[tuple[int, int], ...]

    @classmethod
    def open(cls, repo_path: Path | None, address: str) -> EntityFiles:
        """List the files and read their footers. Raises InvalidRequest for SQL, NotFound, CorruptStore."""
        if _SQL.match(address):
            raise InvalidRequest(
                f"{_NAME}: must be a pandas DataFrame or the path of Parquet, this store runs no SQL, was {address!r}"
            )
        source = ParquetSource.open(repo_path, FileSource(name=_NAME, path=address), {})
        names = source.schema(source.fragments).names
        if not names:
            raise InvalidRequest(f"{_NAME}: must be Parquet with columns, was {address}")
        selection = source.select(names, time_field="", low_ns=None, high_ns=None)
        groups = ((at, group) for at, file in enumerate(selection.files) for group in range(len(file.row_counts)))
        return cls(selection, tuple(groups))

    def empty_frame(self) -> pd.DataFrame:
        """Its columns, without rows."""
        return pa.schema(list(self.selection.types.items())).empty_table().to_pandas()

    def span(self) -> tuple[datetime, datetime] | None:
        """The first and the last event time by the files' statistics, None where they do not say."""
        name = time_column(self.empty_frame())
        found = []
        for at, group in self.row_groups:
            statistics = self.selection.files[at].fragment.row_groups[group].statistics or {}
            if name not in statistics:
                return None
            found += [pd.Timestamp(statistics[name]["min"]), pd.Timestamp(statistics[name]["max"])]
        times = [each.tz_localize("UTC") if each.tzinfo is None else each for each in found]
        return (min(times).floor("us").to_pydatetime(), max(times).floor("us").to_pydatetime()) if times else None

    def cut(self, max_rows: int) -> list[EntityFiles]:
        """Consecutive pieces of whole row groups: at most ``max_rows`` rows each, or one row group."""
        pieces: list[list[tuple[int, int]]] = [[]]
        count = 0
        for at, group in self.row_groups:
            rows = self.selection.files[at].row_counts[group]
            if pieces[-1] and count + rows > max_rows:
                pieces.append([])
                count = 0
            pieces[-1].append((at, group))
            count += rows
        return [replace(self, row_groups=tuple(piece)) for piece in pieces]

    def parts(self, max_rows: int | None) -> Iterator[EntityRows]:
        """The rows in parts of at most ``max_rows``, all in one where it is None; one empty part without a row."""
        for piece in [self] if max_rows is None else self.cut(max_rows):
            rows, _ = EntityRows.of(piece._frame())  # noqa: SLF001  # another of this class
            yield from [rows] if max_rows is None else rows.parts(max_rows)

    def _frame(self) -> pd.DataFrame:
        types = self.selection.types
        tables = [
            table for at, group in self.row_groups for table in self.selection.files[at].read(types, only=[group])
        ]
        return pa.concat_tables([pa.schema(list(types.items())).empty_table(), *tables]).to_pandas()
