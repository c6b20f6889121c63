"""Feature views answered with ticks: what a reader was given at each time, where a source of ticks is named.

The log holds rows at whole seconds; a reader is given those between them too. What computes them is above this
folder, so the store's configuration names it, and it is opened by that name, as Feast opens its stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import FeatureView
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field

from feature_repo.as_of_join import NULL_NS, Int64Array
from feature_repo.asked_view import AskedView
from feature_repo.entity_rows import EntityRows
from feature_repo.parquet_source import UTC_NS
from market.errors import InvalidRequest

FINGERPRINT: Final = "fingerprint"
"""The tag of a view with the identity of the code that computes it; views without it are none of a tick source's."""

Float64s = npt.NDArray[np.float64]


class TicksConfig(FeastConfigBaseModel):
    """Where ticks come from."""

    source: str
    """``module.function``, called with the repository's folder and the options; returns a ``TickSource``."""
    options: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WantedColumns:
    """Columns of one view, and the identity of the code that computes it."""

    view: str
    fingerprint: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ticks:
    """What a reader at each of some times would have been given.

    row_ns, available_ns: int64 (n,), the row's time and from when it could be read, NULL_NS without a row. values:
    float64 (n, columns).
    """

    row_ns: Int64Array
    available_ns: Int64Array
    values: Float64s


class TickSource(Protocol):
    """Computes ticks."""

    def newest(self, symbol: str, times_ns: Int64Array, wanted: Sequence[WantedColumns], *, has_values: bool) -> Ticks:
        """The ticks that answer at ascending times, one at least, with all wanted columns in order.

        has_values: False wants their times alone, which cost less; the values are then of no column.
        """
        ...


def open_tick_source(config: TicksConfig, repo_path: Path | None) -> TickSource:
    """Raises InvalidRequest when there is no such source."""
    module, _, name = config.source.rpartition(".")
    try:
        opened = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRequest(
            f"offline_store.ticks: must name an installed function, was {config.source!r}; "
            "without ticks the newest whole second is used"
        ) from error
    source: TickSource = opened(repo_path or Path(), **config.options)
    return source


@dataclass(frozen=True, slots=True)
class TickJoin:
    """Views whose features are ticks, joined to entity rows; all of one row of each symbol."""

    source: TickSource
    key: str
    """Column of the entity frame with the symbol."""
    views: tuple[tuple[WantedColumns, AskedView], ...]

    @classmethod
    def of(
        cls,
        config: TicksConfig | None,
        repo_path: Path | None,
        views: Iterable[tuple[FeatureView, AskedView]],
    ) -> list[TickJoin]:
        """The joins of those views that a source of ticks answers, one for each key that symbols are asked by."""
        if config is None:
            return []
        by_key: dict[str, list[tuple[WantedColumns, AskedView]]] = {}
        for view, asked in views:
            if FINGERPRINT in view.tags and len(asked.keys) == 1:
                wanted = WantedColumns(view.name, view.tags[FINGERPRINT], tuple(asked.features.values()))
                by_key.setdefault(next(iter(asked.keys)), []).append((wanted, asked))
        source = open_tick_source(config, repo_path) if by_key else None
        return [] if source is None else [cls(source, key, tuple(of_key)) for key, of_key in by_key.items()]

    def answers(self, view: AskedView) -> bool:
        """Whether it is one of these views."""
        return any(asked is view for _, asked in self.views)

    def join(self, rows: EntityRows) -> pa.Table:
        """The views' features for each entity row, null where there is no row."""
        names = [name for _, asked in self.views for name in asked.features]
        values = np.full((len(names), len(rows.ns)), np.nan)
        is_found = np.zeros(len(rows.ns), np.bool_)
        for places, ticks in self._answers(rows, has_values=True):
            values[:, places] = ticks.values.T
            is_found[places] = ticks.row_ns != NULL_NS
        is_missing = ~is_found
        return pa.Table.from_arrays([pa.array(column, mask=is_missing) for column in values], names=names)

    def times(self, rows: EntityRows) -> pa.Table:
        """For each view the times of the rows that answer, as ``AskedView.times`` names them."""
        row_ns, available_ns = (np.full(len(rows.ns), NULL_NS) for _ in range(2))
        for places, ticks in self._answers(rows, has_values=False):
            row_ns[places], available_ns[places] = ticks.row_ns, ticks.available_ns
        is_missing = row_ns == NULL_NS
        columns = [pa.array(times, mask=is_missing).cast(UTC_NS) for times in (row_ns, available_ns)]
        names = [f"{asked.name}__{kind}" for _, asked in self.views for kind in ("event", "created")]
        return pa.Table.from_arrays(columns * len(self.views), names=names)

    def _answers(self, rows: EntityRows, *, has_values: bool) -> Iterable[tuple[Int64Array, Ticks]]:
        """Places among the entity rows, and the ticks that belong there."""
        wanted = [columns for columns, _ in self.views]
        grouped = rows.grouped((self.key,))
        first = grouped.first_rows()
        symbols: list[Any] = grouped.values[0].to_pylist()
        for at, symbol in enumerate(symbols):
            if not isinstance(symbol, str):
                raise InvalidRequest(f"entity_df.{self.key}: must be texts, was {symbol!r}")
            inside = slice(int(first[at]), int(first[at + 1]))
            yield grouped.order[inside], self.source.newest(symbol, grouped.ns[inside], wanted, has_values=has_values)
