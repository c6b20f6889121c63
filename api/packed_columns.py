"""Columns of our views for an answer of the feature server: of packed vectors, and of fields where those are newer.

The views of one key are read together: a symbol is one hash. Their columns are one matrix, so that what is done for one
feature is done for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo.serving_plan import ServingPlan, native_value
from storage.online.feast_fields import timestamp_field
from storage.online.shadow_rows import of_version, shadow_field
from storage.online.table_row import stored_time_ns
from storage.online.vector import VECTOR_FIELD, OnlineVector, unpack

NO_LIMIT: Final = int(np.iinfo(np.int64).max)
"""In the place of the time to live of a view without one."""
_NOWHERE: Final = -1

Asked = list[tuple[bytes, Sequence[bytes]]]
Held = Sequence[Sequence[bytes | None]]


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """Of the views of ours with one key, what does not change from request to request.

    views: of the plan. columns: of the plan, those of these views. view_at: int64 (columns,), which of ``views``.
    """

    key: str
    views: tuple[int, ...]
    columns: tuple[int, ...]
    view_at: npt.NDArray[np.intp]
    ttl_ns: npt.NDArray[np.int64]
    names: tuple[str, ...]
    places: dict[tuple[str, ...], npt.NDArray[np.intp]]
    """By the columns of a vector, the position of each of ours in it."""

    def places_in(self, columns: tuple[str, ...]) -> npt.NDArray[np.intp]:
        """Array (columns,), _NOWHERE for one that the vector has not."""
        found = self.places.get(columns)
        if found is None:
            index = {name: at for at, name in enumerate(columns)}
            self.places[columns] = found = np.array([index.get(name, _NOWHERE) for name in self.names], np.intp)
        return found


def packed_layouts(plan: ServingPlan) -> list[PackedLayout]:
    """One for each column of the request that holds symbols."""
    by_key: dict[str, list[int]] = {}
    for at, view in enumerate(plan.views):
        if view.is_ours:
            by_key.setdefault(next(iter(view.keys.values())), []).append(at)
    layouts = []
    for key, views in by_key.items():
        columns = [at for at, column in enumerate(plan.columns) if column.view in views]
        asked = [plan.columns[at] for at in columns]
        ttls = [plan.views[at].ttl_ns for at in views]
        layouts.append(
            PackedLayout(
                key,
                tuple(views),
                tuple(columns),
                np.array([views.index(column.view) for column in asked], np.intp),
                np.array([NO_LIMIT if ttl is None else ttl for ttl in ttls], np.int64),
                tuple(plan.views[column.view].features[column.at] for column in asked),
                {},
            )
        )
    return layouts


class PackedColumns:
    """What is found of the views of one layout. version: the registry version asked for, None is the one served.

    time_ns: int64 (views, rows), 0 without a row. numbers: float64 (columns, rows), NaN is null.
    """

    def __init__(self, plan: ServingPlan, layout: PackedLayout, symbols: Sequence[str], version: str | None) -> None:
        self._plan = plan
        self.layout = layout
        self._symbols = symbols
        self._version = version
        self.time_ns = np.zeros((len(layout.views), len(symbols)), np.int64)
        self.numbers = np.full((len(layout.columns), len(symbols)), np.nan)

    def asked(self, keys: Sequence[bytes]) -> Asked:
        """What is read first of each row's hash."""
        names = [VECTOR_FIELD, *(self._plan.views[at].fields[-1] for at in self.layout.views)]
        if self._version is not None:
            names.append(shadow_field(self._version))
        return [(key, names) for key in keys]

    def put(self, held: Held) -> list[int]:
        """Take what was read; the rows that fields have something newer of, or that have no vector.

        Raises Conflict if rows of the version are served neither as active nor as shadow, CorruptStore.
        """
        newer: list[int] = []
        by_columns: dict[tuple[str, ...], list[tuple[int, OnlineVector]]] = {}
        for row, (symbol, fields) in enumerate(zip(self._symbols, held, strict=True)):
            vector, written = self._chosen(symbol, fields)
            if vector is None:
                if any(time is not None for time in written):
                    newer.append(row)
                continue
            expected = timestamp_field(vector.row_ns)
            if written.count(expected) < len(written):
                if any(time is not None and time != expected for time in written):
                    newer.append(row)
                    continue
                self.time_ns[:, row] = [0 if time is None else vector.row_ns for time in written]
            else:
                self.time_ns[:, row] = vector.row_ns
            by_columns.setdefault(vector.columns, []).append((row, vector))
        for columns, found in by_columns.items():
            places = self.layout.places_in(columns)
            values = np.stack([vector.values for _, vector in found])[:, places].T
            values[places == _NOWHERE] = np.nan
            self.numbers[:, [row for row, _ in found]] = values
        return newer

    def asked_again(self, rows: Sequence[int], keys: Sequence[bytes]) -> Asked:
        """The fields of such rows, view after view."""
        return [(keys[row], self._plan.views[at].fields) for row in rows for at in self.layout.views]

    def put_again(self, rows: Sequence[int], held: Held) -> None:
        """Take what was read of ``asked_again``."""
        of_view = iter(held)
        for row in rows:
            for number in range(len(self.layout.views)):
                *values, written = next(of_view)
                if written is None:
                    continue
                self.time_ns[number, row] = stored_time_ns(written)
                for at in np.flatnonzero(self.layout.view_at == number).tolist():
                    value = native_value(values[self._plan.columns[self.layout.columns[at]].at])
                    self.numbers[at, row] = value if isinstance(value, float) else np.nan

    def _chosen(self, symbol: str, fields: Sequence[bytes | None]) -> tuple[OnlineVector | None, list[bytes | None]]:
        """The vector that answers a row, and the times of the views with it."""
        packed, *written = fields
        own = None if packed is None else unpack(packed, symbol=symbol)
        if self._version is None:
            return own, written
        *written, beside = written
        found = of_version(symbol, self._version, own, beside)
        if found is None or found is own:
            return found, written
        return found, [timestamp_field(found.row_ns)] * len(written)
