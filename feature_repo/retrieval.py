"""A point-in-time retrieval: entity rows, and what answers each of the views that they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from feature_repo.asked_view import AskedView
from feature_repo.entity_files import EntityFiles
from feature_repo.entity_rows import EntityRows
from feature_repo.parquet_source import UTC_NS
from feature_repo.tick_join import TickJoin
from feature_repo.view_join import ViewJoin
from market.errors import NotFound

_MOST_LISTINGS: Final = 20
"""Of a source's files for one part of a result: a merge of parts removes files one by one."""


class Retrieval:
    """What some entity rows ask of views, answered when the job runs: by the log, or by a source of ticks."""

    def __init__(
        self,
        repo_path: Path | None,
        logged: Sequence[AskedView],
        ticks: Sequence[TickJoin],
        rows: EntityRows | EntityFiles,
        *,
        bitemporal: bool,
    ) -> None:
        self._repo_path = repo_path
        self._logged = logged
        self._ticks = ticks
        self._rows = rows
        self._bitemporal = bitemporal

    def evaluate(self, max_rows: int | None) -> Iterator[pa.Table]:
        """The entity rows with what each knows, so many at a time."""
        known: list[ViewJoin | TickJoin] = []
        for part in self._rows.parts(max_rows):
            for _ in range(_MOST_LISTINGS - 1):
                try:
                    table = self._joined(part, known)
                    break
                except NotFound:
                    # A file that was listed is gone since: where parts were merged, what is there has its rows.
                    known.clear()
            else:
                table = self._joined(part, known)
            yield table

    def cut(self, max_rows: int) -> list[Retrieval]:
        """Retrievals of consecutive parts of the entity rows, about so many each."""
        return [
            Retrieval(self._repo_path, self._logged, self._ticks, part, bitemporal=self._bitemporal)
            for part in self._rows.cut(max_rows)
        ]

    def provenance(self) -> pa.Table:
        """When each entity row asked, and of which time its rows are, view by view."""
        [rows] = self._rows.parts(None)
        table = pa.table({"asked": pa.array(rows.ns).cast(UTC_NS)})
        of_log = (
            ViewJoin.of(self._repo_path, view.times(), rows, bitemporal=self._bitemporal) for view in self._logged
        )
        for times in (*(join.join(rows) for join in of_log), *(join.times(rows) for join in self._ticks)):
            for name, column in zip(times.column_names, times.columns, strict=True):
                table = table.append_column(name, column.cast(UTC_NS))
        return table

    def _joined(self, part: EntityRows, known: list[ViewJoin | TickJoin]) -> pa.Table:
        """known: the joins of every view, opened for the first part."""
        if not known:
            known.extend(self._join(view) for view in self._logged)
            known.extend(self._ticks)
        table = part.table
        for join in known:
            if isinstance(join, ViewJoin) and part is not self._rows:
                join = join.narrowed(part)  # noqa: PLW2901  # what was opened for all stays as it is
            found = join.join(part)
            for name, column in zip(found.column_names, found.columns, strict=True):
                table = table.append_column(name, column)
        return table

    def _join(self, view: AskedView) -> ViewJoin:
        rows = self._rows if isinstance(self._rows, EntityRows) else None
        return ViewJoin.of(self._repo_path, view, rows, bitemporal=self._bitemporal)
