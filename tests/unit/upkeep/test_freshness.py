"""A look at the online store: what counts as fresh, as covered, and what is not judged."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from feature_repo.freshness import STREAMED, slo_of
from market.clock import SECOND_NS
from storage.database.freshness import Looks, WindowLooks
from storage.online.vector import OnlineVector
from transforms.status import GAP, NO_DATA, OK, STALE, WARMUP
from upkeep.freshness import looks_at, symbol_tiers

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
