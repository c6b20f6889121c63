"""The point-in-time join: which feature row each entity row may know.

A row may be read from the moment it is *available*: at its event time, or by the bitemporal rule at the later of its
event time and its creation. Both conditions ``event <= t`` and ``created <= t`` are that one threshold, so the join is

1. rank the feature rows by (group, event, created, position);
2. order them by (group, availability) and keep the highest rank seen so far: because ranks grow from group to group,
   one running maximum serves all groups;
3. find each entity row's last available feature row by one binary search: the running maximum there is its answer;
4. drop the answers older than the TTL: any other candidate would be older still.

Time is O((n + m) log m), memory O(n + m), however many restatements share a key and a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from market.errors import InvalidRequest

Int64Array = npt.NDArray[np.int64]

NO_ROW: Final = -1
"""Position of no feature row."""
NO_GROUP: Final = -1
"""Group of a row with a null key: it belongs to no entity."""
NULL_NS: Final = np.iinfo(np.int64).min
"""A time that is null, as numpy spells NaT."""


def as_of_positions(  # noqa: PLR0913  # two tables, column by column
    entity_group: Int64Array,
    entity_ns: Int64Array,
    *,
    row_group: Int64Array,
    event_ns: Int64Array,
    created_ns: Int64Array | None,
    ttl_ns: int | None,
    bitemporal: bool,
) -> Int64Array:
    """Position of the newest feature row that each entity row may know, NO_ROW where there is none.

    Newest is the latest event, then the latest creation, then the last position. A row of age exactly ``ttl_ns`` is
    still found; None is no limit.

    Args:
        entity_group: (n,) as ``group_rows`` numbers keys; NO_GROUP finds nothing.
        entity_ns: (n,) the times asked for, in any order.
        row_group: (m,) groups of the feature rows, in any order; NO_GROUP is never found.
        event_ns: (m,) event times; NULL_NS is never found.
        created_ns: (m,) creation times, NULL_NS meaning created at the event time; None when the source has none.
        ttl_ns: greatest age.
        bitemporal: whether a row created after the time asked for stays unknown.

    Returns:
        (n,) positions into the feature rows.
    """
    created = _known_ns(event_ns, created_ns)
    position = _order(row_group, event_ns, created)
    group, event, created = (_taken(each, position) for each in (row_group, event_ns, created))
    is_usable = (group != NO_GROUP) & (event != NULL_NS)
    if not is_usable.all():
        usable = np.flatnonzero(is_usable)
        position = usable if position is None else position[usable]
        group, event, created = group[usable], event[usable], created[usable]
    if len(group) == 0:
        return np.full(len(entity_group), NO_ROW, np.int64)

    available = np.maximum(event, created) if bitemporal else event
    by_availability = _order(group, available)
    available = _taken(available, by_availability)
    newest = None if by_availability is None else np.maximum.accumulate(by_availability)

    # The entity rows are searched in order: neighbouring needles share cache lines, which at 1 M rows is 3 times faster
    # than as they come.
    asked = _order(entity_group, entity_ns)
    asked_group, asked_ns = _taken(entity_group, asked), _taken(entity_ns, asked)
    if group[0] == group[-1]:
        last = np.searchsorted(available, asked_ns, side="right") - 1
    else:
        # Group and time in one int64 each, the time as the number of availabilities up to it.
        times = np.sort(available)
        width = len(times) + 1
        row_code = group * width + np.searchsorted(times, available, side="right")
        asked_code = asked_group * width + np.searchsorted(times, asked_ns, side="right")
        last = np.searchsorted(row_code, asked_code, side="right") - 1
    rank = last if newest is None else newest[last]

    is_found = (last >= 0) & (group[last] == asked_group)
    if ttl_ns is not None:
        is_found &= event[rank] >= oldest_ns(asked_ns, ttl_ns)
    answer = np.where(is_found, rank if position is None else position[rank], NO_ROW)
    if asked is None:
        return answer
    found = np.empty(len(entity_group), np.int64)
    found[asked] = answer
    return found


def sorting_order(*keys: Int64Array) -> Int64Array:
    """Positions that sort by the keys, first key first, equal ones by position; next to free where they are sorted."""
    order = _order(*keys)
    return np.arange(len(keys[0]), dtype=np.int64) if order is None else order


def _order(*keys: Int64Array) -> Int64Array | None:
    """Positions that sort by the keys; None where they are sorted, which spares every use of the positions."""
    if _is_in_order(keys):
        return None
    if (code := _one_key(keys)) is not None:
        return _stable_order(code)
    return np.lexsort(keys[::-1])


def _stable_order(code: Int64Array) -> Int64Array:
    """Positions that sort, equal ones by position; two unstable sorts take a third of the time of a stable one."""
    order = np.argsort(code)
    code = code[order]
    is_tied = code[1:] == code[:-1]
    if not is_tied.any():
        return order
    rank = np.zeros(len(code), np.int64)
    np.cumsum(~is_tied, out=rank[1:])
    # Ranks and positions are both below the number of rows, so that one int64 holds both.
    ranked = rank * len(code) + order
    ranked.sort()
    positions: Int64Array = ranked - rank * len(code)
    return positions


def _taken(values: Int64Array, position: Int64Array | None) -> Int64Array:
    return values if position is None else values[position]


def _is_in_order(keys: Sequence[Int64Array]) -> bool:
    is_tied: npt.NDArray[np.bool_] | None = None
    for key in keys:
        is_wrong, is_equal = key[:-1] > key[1:], key[:-1] == key[1:]
        if (is_wrong if is_tied is None else is_wrong & is_tied).any():
            return False
        is_tied = is_equal if is_tied is None else is_equal & is_tied
        if not is_tied.any():
            return True
    return True


def _one_key(keys: Sequence[Int64Array]) -> Int64Array | None:
    """Numbers in the order of all keys together, for one sort instead of several; None where int64 has no room."""
    lows = [int(key.min()) for key in keys]
    widths = [int(key.max()) - low + 1 for key, low in zip(keys, lows, strict=True)]
    if math.prod(widths) > np.iinfo(np.int64).max:
        return None
    code = keys[0] - lows[0]
    for key, low, width in zip(keys[1:], lows[1:], widths[1:], strict=True):
        code = code * width + (key - low)
    return code


def newest_positions(row_group: Int64Array, event_ns: Int64Array, created_ns: Int64Array | None) -> Int64Array:
    """Ascending positions of each group's newest feature row; the order of newness is that of ``as_of_positions``."""
    position = sorting_order(row_group, event_ns, _known_ns(event_ns, created_ns))
    is_last = np.ones(len(position), np.bool_)
    is_last[:-1] = row_group[position[1:]] != row_group[position[:-1]]
    return np.sort(position[is_last])


def _known_ns(event_ns: Int64Array, created_ns: Int64Array | None) -> Int64Array:
    """Creation times, the event time where there is none."""
    if created_ns is None:
        return event_ns
    is_null = created_ns == NULL_NS
    return np.where(is_null, event_ns, created_ns) if is_null.any() else created_ns


def oldest_ns(entity_ns: Int64Array, ttl_ns: int) -> Int64Array:
    """The earliest event time that is still alive at each time, held inside int64."""
    ttl = min(ttl_ns, np.iinfo(np.int64).max)
    return np.maximum(entity_ns, NULL_NS + ttl) - ttl


def group_rows(columns: Sequence[pa.ChunkedArray[Any]], row_count: int) -> Int64Array:
    """Number the distinct keys: (row_count,) int64, equal where all columns are; NO_GROUP where any is null.

    No column at all is one group: the rows of a view without entities.
    """
    group = np.zeros(row_count, np.int64)
    if row_count == 0:
        return group  # columns of a source without files have no type to be encoded by
    is_null = np.zeros(row_count, np.bool_)
    for column in columns:
        codes = cast(
            "pa.DictionaryArray[Any, Any]", pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
        )
        code = codes.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        is_null |= column.is_null().combine_chunks().to_numpy(zero_copy_only=False)
        group = group * len(codes.dictionary) + code
        if len(columns) > 1:  # numbered densely again, so that the next product stays inside int64
            group = np.asarray(pd.factorize(group)[0], np.int64)
    group[is_null] = NO_GROUP
    return group


def times_ns(column: pa.ChunkedArray[Any], thing: str) -> Int64Array:
    """A timestamp or date column as int64 ns since 1970 UTC, null as NULL_NS; without a zone it means UTC.

    Raises InvalidRequest when ``thing``, the column, holds no times or one beyond the years 1677 to 2262.
    """
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind)):
        hint = (
            "; convert strings to times once: pandas.to_datetime(texts, utc=True)" if pa.types.is_string(kind) else ""
        )
        raise InvalidRequest(f"{thing}: must be a timestamp column, was {kind}{hint}")
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    try:
        ns = cast("pa.Int64Array", column.cast(pa.timestamp("ns", zone)).cast(pa.int64()).combine_chunks())
    except pa.ArrowInvalid as error:
        raise InvalidRequest(f"{thing}: must lie in the years 1677 to 2262, was {error}") from error
    if ns.null_count == 0:
        return ns.to_numpy()
    return np.where(ns.is_null().to_numpy(zero_copy_only=False), NULL_NS, ns.fill_null(0).to_numpy())


def utc_times(times: pd.Series[pd.Timestamp], thing: str) -> pd.Series[pd.Timestamp]:
    """Datetimes, ISO texts or a mix of both as aware UTC datetimes; naive ones mean UTC.

    Raises InvalidRequest when ``thing``, the column, holds anything else, or a null.
    """
    if pd.api.types.is_bool_dtype(times) or pd.api.types.is_numeric_dtype(times):
        raise InvalidRequest(f"{thing}: must hold datetimes, was {times.dtype}")
    try:
        aware = pd.to_datetime(times, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{thing}: must hold datetimes, was {error}") from error
    if aware.isna().any():
        raise InvalidRequest(f"{thing}: must not be null, was null in {int(aware.isna().sum())} of {len(aware)} rows")
    return aware
