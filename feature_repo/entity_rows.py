"""The entity frame of a retrieval: its time column, its keys, and itself as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo.parquet_source import Column
from market.errors import InvalidRequest

EVENT_TIMESTAMP: Final = "event_timestamp"


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


def check_columns(entity_df: pd.DataFrame, views: Sequence[tuple[Mapping[str, str], Mapping[str, str]]]) -> None:
    """Refuse a frame that lacks a join key or holds a feature; ``views`` are the keys and features of each view."""
    if not entity_df.columns.is_unique or not all(isinstance(name, str) for name in entity_df.columns):
        raise InvalidRequest(f"entity_df: column names must be unique texts, was {list(entity_df.columns)}")
    names = set(entity_df.columns)
    for keys, features in views:
        for key in keys:
            if key not in entity_df.columns:
                raise InvalidRequest(f"entity_df: must have the join key {key}, was {list(entity_df.columns)}")
        for name in features:
            if name in names:
                raise InvalidRequest(f"{name}: must not be a column twice; full_feature_names=True tells them apart")
            names.add(name)


def entity_table(entity_df: pd.DataFrame) -> pa.Table:
    """The entity frame without its index; a NaN of a float column stays a NaN."""
    names = list(entity_df.columns)
    return pa.Table.from_arrays(
        [to_column(entity_df[name], f"entity_df.{name}", keep_nan=True) for name in names], names
    )


def to_column(series: pd.Series[Any], thing: str, *, keep_nan: bool = False) -> Column:
    is_float = isinstance(series.dtype, np.dtype) and series.dtype.kind == "f"
    try:
        values = pa.array(series, from_pandas=not (keep_nan and is_float))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidRequest(f"{thing}: must hold values of one type, was {error}") from error
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def concat_keys(asked: Column, held: Column, asked_thing: str, held_thing: str) -> Column:
    """Both columns in one, of a type that holds either's values exactly."""
    try:
        if pa.types.is_dictionary(asked.type):
            asked = asked.cast(asked.type.value_type)
        both = [pa.schema([("key", column.type)]) for column in (asked, held)]
        common = pa.unify_schemas(both, promote_options="permissive").field(0).type
        if pa.types.is_integer(held.type) and pa.types.is_floating(common):
            common = held.type  # whole numbers that a null made float in pandas
        return pa.chunked_array([*asked.cast(common).chunks, *held.cast(common).chunks], common)
    except pa.ArrowException as error:
        raise InvalidRequest(
            f"{asked_thing}: must have the type of {held_thing}, {held.type}, was {asked.type}"
        ) from error
