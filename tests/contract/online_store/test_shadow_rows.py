"""Rows of a version beside the active one, on embedded Redis and on a server alike: whose they are, and how old."""

from __future__ import annotations

import numpy as np
import pytest

from market.clock import SECOND_NS
from market.errors import Conflict
from storage.online.shadow_rows import MOST_BEHIND_NS, ShadowRows, drop_shadows, read_version
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from transforms.catalogue import feature_set
from transforms.rows import FeatureSet

SYMBOL = "BTCUSDT"
ACTIVE = feature_set("3.0.0", ["mid_price", "spread_abs"])
BESIDE = feature_set("3.1.0", ["mid_price", "depth_bid_top5"])
NOW_NS = 1_786_276_800 * SECOND_NS


def row(chosen: FeatureSet, row_ns: int = NOW_NS) -> OnlineRow:
    values = np.arange(float(len(chosen.columns)))
    status = np.zeros(len(chosen.groups), np.int8)
    return OnlineRow(SYMBOL, chosen, row_ns, row_ns, values, status, {})


def test_each_version_that_is_served_is_read_and_no_other(store: OnlineStore) -> None:
    assert read_version(store, [SYMBOL], "3.1.0") == [None]
    store.write([row(ACTIVE)], now_ns=NOW_NS, fences={SYMBOL: 5})
    with pytest.raises(Conflict, match=r"3\.1\.0: must be served for BTCUSDT, was not: 3\.0\.0 is"):
        read_version(store, [SYMBOL], "3.1.0")
    assert ShadowRows(store, BESIDE).write([row(BESIDE)], fences={SYMBOL: 5}) == ()
    for version, chosen in (("3.0.0", ACTIVE), ("3.1.0", BESIDE)):
        [found] = read_version(store, [SYMBOL], version)
        assert found is not None
        assert (found.version, found.columns) == (version, chosen.columns)
    [own] = store.read([SYMBOL])
    assert own is not None
    assert own.version == "3.0.0"
    drop_shadows(store, [SYMBOL], "3.1.0")
    with pytest.raises(Conflict, match="must be served"):
        read_version(store, [SYMBOL], "3.1.0")


def test_a_row_that_stopped_long_ago_is_none_of_a_version_that_is_served(store: OnlineStore) -> None:
    store.write([row(ACTIVE)], now_ns=NOW_NS)
    ShadowRows(store, BESIDE).write([row(BESIDE, NOW_NS - MOST_BEHIND_NS)], fences={})
    assert read_version(store, [SYMBOL], "3.1.0") != [None]
    store.write([row(ACTIVE, NOW_NS + SECOND_NS)], now_ns=NOW_NS + SECOND_NS)
    with pytest.raises(Conflict, match=r"was not since 2026-08-09T.*: 3\.0\.0 is"):
        read_version(store, [SYMBOL], "3.1.0")


def test_a_writer_whose_lease_is_another_ones_stores_nothing(store: OnlineStore) -> None:
    store.write([row(ACTIVE)], now_ns=NOW_NS, fences={SYMBOL: 5})
    assert ShadowRows(store, BESIDE).write([row(BESIDE)], fences={SYMBOL: 4}) == (SYMBOL,)
    with pytest.raises(Conflict, match="must be served"):
        read_version(store, [SYMBOL], "3.1.0")
