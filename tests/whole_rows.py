"""Rows that hold their second in every value, so that a torn one shows, as the online store takes and gives them."""

from __future__ import annotations

import numpy as np

from market.clock import SECOND_NS
from market.errors import StoreUnavailable
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from transforms.rows import FeatureGroup, FeatureSet

B = 1_772_000_000 * SECOND_NS
NAMES = tuple(f"f{i}" for i in range(20))
SET = FeatureSet(
    "1.0.0",
    NAMES,
    (
        FeatureGroup("left", "l", NAMES[:10], tuple(range(10))),
        FeatureGroup("right", "r", NAMES[10:], tuple(range(10, 20))),
    ),
    "f00d",
)
SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")


def online_row(symbol: str, second: int) -> OnlineRow:
    row_ns = B + second * SECOND_NS
    return OnlineRow(symbol, SET, row_ns, row_ns + 1, np.full(len(NAMES), float(second)), np.zeros(2, np.int8), {})


def second_of(store: OnlineStore, symbol: str) -> int | None:
    """The second of the symbol's vector, whole; None without one, or without a server."""
    try:
        [vector] = store.read([symbol])
    except StoreUnavailable:
        return None
    if vector is None:
        return None
    second = (vector.row_ns - B) // SECOND_NS
    assert set(vector.values.tolist()) == {float(second)}
    return second
