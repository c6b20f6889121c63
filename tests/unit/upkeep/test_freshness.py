"""A look at the online store: what counts as fresh, as covered, and what is not judged."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from feature_repo.freshness import STREAMED, slo_of
from market.clock import SECOND_NS
from storage.database.freshness import Looks, WindowLooks
from storage.online.table_row import TableRow
from storage.online.vector import OnlineVector
from transforms.status import GAP, NO_DATA, OK, STALE, WARMUP
from upkeep.freshness import DueRows, looks_at, looks_at_tables, symbol_tiers

NOW_NS = 1_780_000_000 * SECOND_NS


def vector(symbol: str, *, age_ns: int = SECOND_NS, **statuses: int) -> OnlineVector:
    return OnlineVector(symbol, NOW_NS - age_ns, NOW_NS, "2.0.0", "f", (), np.empty(0), statuses, {})


def look(found: OnlineVector | None, view: str = "price") -> list[tuple[int, int, int]]:
    looks = looks_at({"BTCUSDT": found}, {"BTCUSDT": 1}, [view], now_ns=NOW_NS)
    return [(each.looks, each.fresh, each.covered) for each in looks]


def test_a_row_as_old_as_promised_is_fresh_and_an_older_one_is_not() -> None:
    limit_ns = slo_of("price").freshness_ns
    assert look(vector("BTCUSDT", age_ns=limit_ns, price=OK)) == [(1, 1, 1)]
    assert look(vector("BTCUSDT", age_ns=limit_ns + 1, price=OK)) == [(1, 0, 0)]


def test_a_symbol_without_a_row_or_without_the_view_is_not_fresh() -> None:
    assert look(None) == [(1, 0, 0)]
    assert look(vector("BTCUSDT", orderflow=OK)) == [(1, 0, 0)]


@pytest.mark.parametrize("status", [GAP, STALE, NO_DATA])
def test_a_fresh_row_whose_source_is_missing_does_not_cover_its_view(status: int) -> None:
    assert look(vector("BTCUSDT", price=status)) == [(1, 1, 0)]


def test_a_view_that_warms_up_is_not_judged_but_an_old_row_of_it_is() -> None:
    assert look(vector("BTCUSDT", price=WARMUP)) == []
    assert look(vector("BTCUSDT", age_ns=10 * SECOND_NS, price=WARMUP)) == [(1, 0, 0)]


def test_looks_are_added_up_by_tier() -> None:
    tiers = symbol_tiers(["A", "B", "C"], ["A"])
    assert tiers == {"A": 1, "B": 2, "C": 2}
    assert symbol_tiers(["A", "B"], None) == {"A": 1, "B": 1}
    vectors = {"A": vector("A", price=OK), "B": vector("B", price=GAP), "C": None}
    assert looks_at(vectors, tiers, ["price"], now_ns=NOW_NS) == [
        Looks(view="price", tier=1, looks=1, fresh=1, covered=1),
        Looks(view="price", tier=2, looks=2, fresh=1, covered=0),
    ]


def test_the_burn_rate_is_one_when_the_budget_lasts_its_period_and_grows_with_what_is_lost() -> None:
    def burn(lost_minutes: float, window: str = "1h", slo: float = STREAMED.coverage) -> float:
        looks = WindowLooks(
            view="price", tier=1, looks=60, fresh=60, covered=60, window=window, lost_minutes=lost_minutes
        )
        return looks.burn_rate(slo)

    assert burn(0.6) == pytest.approx(1.0)
    assert burn(60.0) == pytest.approx(100.0)
    assert burn(3.6, "6h") == pytest.approx(1.0)
    assert burn(60.0, slo=slo_of("position").coverage) == pytest.approx(1.0)


def test_each_view_declares_its_objectives_as_tags() -> None:
    assert STREAMED.tags() == {"freshness_slo_s": "2", "coverage_slo": "0.99"}
    assert slo_of("orderbook").freshness == timedelta(seconds=2)


class Served:
    """An online store of views of tables. known_ns: by key, when the row that it serves was known."""

    def __init__(self, **known_ns: int) -> None:
        self._known_ns = known_ns

    def table_rows(
        self, symbols: list[str], views: dict[str, tuple[str, ...]], *, shared: set[str]
    ) -> list[dict[str, TableRow | None]]:
        [view] = views
        keys = ["ALL" if view in shared else symbol for symbol in symbols]
        known = [self._known_ns.get(key) for key in keys]
        return [{view: None if at is None else TableRow(at, at, {}, frozenset())} for at in known]


def table_look(due: DueRows, **served: int) -> list[tuple[str, int, int, int, int]]:
    looks = looks_at_tables(Served(**served), due)  # type: ignore[arg-type]  # what is read of it
    return [(each.view, each.tier, each.looks, each.fresh, each.covered) for each in looks]


def test_a_view_of_tables_is_fresh_while_it_serves_what_has_been_known_for_long_enough() -> None:
    due = DueRows({"bars": {"A": 5, "B": 5, "C": 7}}, tiers={"A": 1, "B": 1, "C": 2})
    assert table_look(due, A=5, B=4, C=9) == [("bars", 1, 2, 1, 1), ("bars", 2, 1, 1, 1)]
    assert table_look(due, A=5) == [("bars", 1, 2, 1, 1), ("bars", 2, 1, 0, 0)]
    assert [(each.looks, each.fresh) for each in looks_at_tables(None, due)] == [(2, 0), (1, 0)]
    assert table_look(DueRows()) == []


def test_a_view_whose_rows_are_the_same_for_every_key_is_looked_at_once() -> None:
    due = DueRows({"macro": {"": 5}}, shared={"macro"}, tiers={"": 1})
    assert table_look(due, ALL=5) == [("macro", 1, 1, 1, 1)]
    assert table_look(due, ALL=4) == [("macro", 1, 1, 0, 0)]
