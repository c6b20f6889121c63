"""Online features of tables: rows that Feast materialized, with the features' declared NaN rules as reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from math import isnan

from feature_client.online import UNKNOWN_ENTITY, LookAheadError, OnlineFeature, age_of
from market.clock import format_iso
from storage.online.table_row import TableRow
from transforms.equities.catalogue import TABLE_GROUPS


@lru_cache(maxsize=1)
def nan_rules() -> Mapping[tuple[str, str], str]:
    """When a feature is unknown, in words, by view and name."""
    return {(group, each.name): each.nan_rule for group, of in TABLE_GROUPS.items() for each in of.columns}


def table_features_of(
    rows: Mapping[str, TableRow | None],
    references: Sequence[tuple[str, str]],
    *,
    now_ns: int,
    fresh_for: Mapping[str, timedelta],
) -> dict[str, OnlineFeature]:
    """The value of each reference in one symbol's rows by view; fresh_for: by view, how old a value may be."""
    answer = {}
    for view, name in references:
        row = rows[view]
        if row is None:
            answer[f"{view}:{name}"] = OnlineFeature(None, UNKNOWN_ENTITY, "the symbol has no row", None)
            continue
        age = age_of(row.event_ns, now_ns)
        if name in row.absent:
            feature = OnlineFeature(
                None, "MISSING", "the view has not been materialized since the feature was added", age
            )
        elif isnan(row.values[name]):
            feature = OnlineFeature(None, "MISSING", nan_rules()[view, name], age)
        else:
            feature = OnlineFeature(row.values[name], "STALE" if age > fresh_for[view] else "PRESENT", None, age)
        answer[f"{view}:{name}"] = feature
    return answer


def refuse_table_look_ahead(
    symbol: str, rows: Mapping[str, TableRow | None], views: Mapping[str, Sequence[str]], as_of_ns: int
) -> None:
    """Raises LookAheadError if a row could not be known yet at ``as_of_ns``."""
    for view, row in rows.items():
        if row is not None and row.known_ns > as_of_ns:
            names = ", ".join(f"{view}:{name}" for name in views[view])
            raise LookAheadError(
                f"{names} of {symbol}: must be known at as_of_timestamp {format_iso(as_of_ns)}, was of "
                f"{format_iso(row.event_ns)}, available at {format_iso(row.known_ns)}"
            )
