"""The entity rows of a retrieval: checked, as columns, and in the order in which a view's rows are searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.as_of_join import NO_GROUP, Int64Array, sorting_order, times_ns, utc_times
from feature_repo.parquet_source import Column
from market.errors import InvalidRequest

EVENT_TIMESTAMP: Final = "event_timestamp"


@dataclass(frozen=True, slots=True)
class GroupedRows:
    """Entity rows of one choice of keys, ordered by group and time; rows with a null key stand first, of NO_GROUP.

    order: (n,) positions of the rows in the entity frame. group, ns: (n,) in that order. values: the distinct values of
    each key. combinations: for each key after the first the distinct codes of it and those before, sorted.
    """

    order: Int64Array
    group: Int64Array
    ns: Int64Array
    values: list[pa.Array[Any]]
    combinations: list[Int64Array]

    @classmethod
    def of(cls, keys: Sequence[Column], ns: Int64Array) -> GroupedRows:
        """Group the rows by their keys; no key at all is one group."""
        values = [cast("pa.Array[Any]", pc.unique(key).drop_null()) for key in keys]
        codes = [_codes(key, known) for key, known in zip(keys, values, strict=True)]
        combinations: list[Int64Array] = []
        group = codes[0] if codes else np.zeros(len(ns), np.int64)
        for known, code in zip(values[1:], codes[1:], strict=True):
            combined = _combine(group, code, len(known))
            combinations.append(np.unique(combined[combined != NO_GROUP]))
            group = _position_in(combinations[-1], combined)
        order = sorting_order(group, ns)
        return cls(order, group[order], ns[order], values, combinations)

    @property
    def group_count(self) -> int:
        if self.combinations:
            return len(self.combinations[-1])
        return len(self.values[0]) if self.values else 1

    def first_rows(self) -> Int64Array:
        """(groups + 1,) where each group's rows begin; the last is the number of all rows."""
        return np.searchsorted(self.group, np.arange(self.group_count + 1))

    def groups_of(self, values: Sequence[pa.Array[Any]], held: Sequence[Column], row_count: int) -> Int64Array:
        """(row_count,) the group of each row that has the keys ``held``, NO_GROUP where nothing asks for it.

        values: ``self.values`` in the types of ``held``.
        """
        if not held:
            return np.zeros(row_count, np.int64)
        group = _codes(held[0], values[0])
        for known, column, combinations in zip(values[1:], held[1:], self.combinations, strict=True):
            group = _position_in(combinations, _combine(group, _codes(column, known), len(known)))
        return group


@dataclass(frozen=True, slots=True)
class EntityRows:
    """The entity frame without its index; event times are UTC."""

    table: pa.Table
    time_name: str
    ns: Int64Array
    """(n,) event times."""
    _keys: dict[str, Column]
    _grouped: dict[tuple[str, ...], GroupedRows] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pd.DataFrame) -> tuple[EntityRows, pd.DataFrame]:
        """The rows, and the frame with its times in UTC. Raises InvalidRequest naming the column."""
        time_name = time_column(frame)
        thing = f"entity_df.{time_name}"
        frame = frame.assign(**{time_name: utc_times(frame[time_name], thing)})
        names = list(frame.columns)
        columns = [to_column(frame[name], f"entity_df.{name}", keep_nan=True) for name in names]
        table = pa.Table.from_arrays(columns, names)
        # A NaN among keys is pandas' way to say null.
        keys = {
            name: to_column(frame[name], thing) if pa.types.is_floating(column.type) else column
            for name, column in zip(names, columns, strict=True)
        }
        return cls(table, time_name, times_ns(table[time_name], thing), keys), frame

    def grouped(self, keys: tuple[str, ...]) -> GroupedRows:
        """The rows ordered for views of these keys; ordered once for all of them."""
        if keys not in self._grouped:
            self._grouped[keys] = GroupedRows.of([_plain(self._keys[key]) for key in keys], self.ns)
        return self._grouped[keys]

    def cut(self, max_rows: int) -> list[EntityRows]:
        """The parts, all at once."""
        return list(self.parts(max_rows))

    def parts(self, max_rows: int | None) -> Iterator[EntityRows]:
        """Consecutive parts of at most ``max_rows`` rows; one empty part when there is no row. None is all in one."""
        if max_rows is None:
            yield self
            return
        for begin in range(0, max(1, len(self.ns)), max_rows):
            keys = {name: column.slice(begin, max_rows) for name, column in self._keys.items()}
            part = self.table.slice(begin, max_rows)
            yield EntityRows(part, self.time_name, self.ns[begin : begin + max_rows], keys)


def check_columns(entity_df: pd.DataFrame, views: Sequence[tuple[Mapping[str, str], Mapping[str, str]]]) -> None:
    """Refuse a frame that lacks a join key or holds a feature; ``views`` are the keys and features of each view."""
    if not entity_df.columns.is_unique or not all(isinstance(name, str) for name in entity_df.columns):
        raise InvalidRequest(f"entity_df: column names must be unique strings, was {list(entity_df.columns)}")
    names = set(entity_df.columns)
    for keys, features in views:
        for key in keys:
            if key not in entity_df.columns:
                raise InvalidRequest(f"entity_df: must have the join key {key}, was {list(entity_df.columns)}")
        for name in features:
            if name in names:
                raise InvalidRequest(f"{name}: must not be a column twice; full_feature_names=True distinguishes them")
            names.add(name)


def to_column(series: pd.Series[Any], thing: str, *, keep_nan: bool = False) -> Column:
    """The values of ``series``; a NaN is a null unless it is kept. Raises InvalidRequest naming ``thing``."""
    is_float = isinstance(series.dtype, np.dtype) and series.dtype.kind == "f"
    try:
        values = pa.array(series, from_pandas=not (keep_nan and is_float))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidRequest(f"{thing}: must hold values of one type, was {error}") from error
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def values_as_held(values: pa.Array[Any], held: pa.DataType, asked_thing: str, held_thing: str) -> pa.Array[Any]:
    """Distinct key values in a type that holds both sides' values exactly. Raises InvalidRequest naming the key."""
    try:
        both = [pa.schema([("key", kind)]) for kind in (values.type, held)]
        common = pa.unify_schemas(both, promote_options="permissive").field(0).type
        if pa.types.is_integer(held) and pa.types.is_floating(common):
            common = held  # whole numbers that a null made float in pandas
        return values.cast(common)
    except pa.ArrowException as error:
        raise InvalidRequest(f"{asked_thing}: must have the type of {held_thing}, {held}, was {values.type}") from error


def time_column(entity_df: pd.DataFrame) -> str:
    """The column named event_timestamp, else the only one of datetimes."""
    if EVENT_TIMESTAMP in entity_df.columns:
        return EVENT_TIMESTAMP
    candidates = [str(name) for name in entity_df.select_dtypes(["datetime", "datetimetz"]).columns]
    if len(candidates) != 1:
        raise InvalidRequest(
            f"entity_df: must have the column {EVENT_TIMESTAMP} or one of datetimes, was {list(entity_df.columns)}"
        )
    return candidates[0]


def _plain(column: Column) -> Column:
    """Categories as their values."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _codes(column: Column, known: pa.Array[Any]) -> Int64Array:
    """The position of each value among the ``known`` ones, NO_GROUP if it is not among them or null."""
    codes = [np.empty(0, np.int64)]
    for chunk in column.chunks:
        if isinstance(chunk, pa.DictionaryArray):
            of_value = _codes(pa.chunked_array([chunk.dictionary]), known)
            of_value = np.append(of_value, NO_GROUP)
            codes.append(of_value[chunk.indices.fill_null(len(of_value) - 1).to_numpy(zero_copy_only=False)])
        else:
            found = pc.index_in(chunk.cast(known.type), value_set=known, skip_nulls=True)
            codes.append(found.fill_null(NO_GROUP).to_numpy(zero_copy_only=False).astype(np.int64))
    return np.concatenate(codes)


def _combine(group: Int64Array, code: Int64Array, code_count: int) -> Int64Array:
    """One number for both; the groups before it are few, so that it stays inside int64."""
    return np.where((group == NO_GROUP) | (code == NO_GROUP), NO_GROUP, group * code_count + code)


def _position_in(combinations: Int64Array, combined: Int64Array) -> Int64Array:
    if len(combinations) == 0:
        return np.full(len(combined), NO_GROUP, np.int64)
    position = np.minimum(np.searchsorted(combinations, combined), len(combinations) - 1)
    return np.where(combinations[position] == combined, position, NO_GROUP)
