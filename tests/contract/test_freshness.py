"""Freshness is added up by the minute and read back by window, on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from market.errors import Conflict, StoreUnavailable
from storage.database.figures import drop_figures
from storage.database.freshness import FreshnessStore, Looks

NOON = datetime(2026, 8, 9, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(url: str) -> Iterator[FreshnessStore]:
    with closing(FreshnessStore(url)) as found:
        yield found


def looks(view: str, *, looks: int = 10, fresh: int = 10, covered: int = 10) -> Looks:
    return Looks(view=view, tier=1, looks=looks, fresh=fresh, covered=covered)


def test_looks_of_a_minute_add_up_and_each_window_has_its_own(store: FreshnessStore, url: str) -> None:
    store.add([], NOON)
    store.add([looks("price"), looks("orderbook", fresh=0, covered=0)], NOON - timedelta(hours=3))
    store.add([looks("price", covered=6)], NOON - MINUTE)
    store.add([looks("price", fresh=9, covered=4)], NOON - MINUTE + timedelta(seconds=10))
    found = {(each.view, each.window): each for each in store.windows(NOON)}
    hour = found["price", "1h"]
    assert (hour.looks, hour.fresh, hour.covered) == (20, 19, 10)
    assert (hour.fresh_share, hour.coverage) == (0.95, 0.5)
    assert hour.lost_minutes == pytest.approx(0.5)
    assert found["price", "6h"].looks == 30
    assert ("orderbook", "1h") not in found
    assert found["orderbook", "6h"].lost_minutes == pytest.approx(1.0)
    assert store.served_views(NOON) == ["price"]
    assert drop_figures(url, NOON - timedelta(hours=1))["freshness_minutes"] == 2
    assert {each.looks for each in store.windows(NOON)} == {20}


def test_more_covered_than_looked_at_is_refused(store: FreshnessStore) -> None:
    with pytest.raises(Conflict):
        store.add([looks("price", covered=11)], NOON)


def test_without_a_database_the_store_is_unavailable() -> None:
    with (
        closing(FreshnessStore("postgresql+psycopg://postgres@127.0.0.1:1/none")) as found,
        pytest.raises(StoreUnavailable),
    ):
        found.windows(NOON)
