"""Rows of two views that interleave, as the online store takes and gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from market.clock import MILLISECOND_NS, SECOND_NS
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow, OnlineVector
from transforms.rows import FeatureGroup, FeatureSet
from transforms.status import OK

B = 1_772_000_000 * SECOND_NS
NAN = float("nan")


def feature_set(views: Mapping[str, Sequence[str]], *, fingerprint: str = "f00d") -> FeatureSet:
    """The columns in an order that interleaves the groups, so that a mixed-up index shows."""
    longest = max(len(columns) for columns in views.values())
    columns = tuple(names[i] for i in range(longest) for names in views.values() if i < len(names))
    groups = tuple(
        FeatureGroup(view, f"{view}-print", tuple(names), tuple(columns.index(name) for name in names))
        for view, names in views.items()
    )
    return FeatureSet("2.0.0", columns, groups, fingerprint)


TWO_VIEWS = {"price": ("mid_price", "spread_abs", "microprice"), "orderflow": ("vwap_3s", "volume_3s")}
TWO_GROUPS = feature_set(TWO_VIEWS)


def online_row(
    values: Mapping[str, float] | None = None,
    *,
    symbol: str = "BTCUSDT",
    row_ns: int = B,
    available_ns: int | None = None,
    columns: FeatureSet = TWO_GROUPS,
    reasons: Mapping[str, str] | None = None,
    status: Sequence[int] | None = None,
) -> OnlineRow:
    given_values = values or {}
    return OnlineRow(
        symbol,
        columns,
        row_ns,
        row_ns + 20 * MILLISECOND_NS if available_ns is None else available_ns,
        np.array([given_values.get(column, float(i)) for i, column in enumerate(columns.columns)]),
        np.array([OK] * len(columns.groups) if status is None else status, np.int8),
        reasons or {},
    )


def same_value(value: float, columns: FeatureSet = TWO_GROUPS) -> dict[str, float]:
    return dict.fromkeys(columns.columns, value)


def vector_of(store: OnlineStore, symbol: str = "BTCUSDT") -> OnlineVector:
    (vector,) = store.read([symbol])
    assert vector is not None
    return vector
