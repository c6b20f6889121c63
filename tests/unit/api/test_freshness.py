"""Freshness as it is told: the objectives of each view, its windows, and what is left of the budget."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client.core import Metric

from api.checks import Answer
from api.freshness import freshness_families
from api.freshness_document import freshness_document
from market.clock import SECOND_NS
from storage.database.freshness import WindowLooks
from storage.online.vector import OnlineVector
from transforms.status import OK

NOW_NS = 1_780_000_000 * SECOND_NS
VECTOR = OnlineVector("BTCUSDT", NOW_NS - SECOND_NS, NOW_NS, "2.0.0", "f", (), np.empty(0), {"price": OK}, {})


def window(name: str, lost_minutes: float) -> WindowLooks:
    return WindowLooks(view="price", tier=1, looks=100, fresh=99, covered=98, window=name, lost_minutes=lost_minutes)


def test_a_view_tells_its_objectives_its_age_and_what_is_left_of_its_budget() -> None:
    found = freshness_document([window("1h", 6.0), window("30d", 216.0)], [VECTOR], now_ns=NOW_NS)["price"]
    assert (found["freshness_slo_seconds"], found["coverage_slo"]) == (2.0, 0.99)
    assert found["age_seconds"] == {"BTCUSDT": 1.0}
    tier = found["tiers"]["1"]
    assert tier["1h"] == {"looks": 100, "fresh": 0.99, "coverage": 0.98, "burn_rate": pytest.approx(10.0)}
    assert tier["budget_left"] == pytest.approx(0.5)


def test_a_view_that_nobody_looked_at_has_no_windows() -> None:
    assert freshness_document([], [VECTOR], now_ns=NOW_NS)["price"]["tiers"] == {}


def test_prometheus_is_told_of_each_window_and_of_nothing_when_the_table_did_not_answer() -> None:
    def samples(families: list[Metric]) -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }

    found = samples(freshness_families(Answer({"looks": [window("1h", 6.0)]})))
    assert found["feature_service_freshness_coverage_ratio", "price", "1", "1h"] == 0.98
    assert found["feature_service_freshness_burn_rate", "price", "1", "1h"] == pytest.approx(10.0)
    assert found["feature_service_freshness_slo_seconds", "price"] == 2.0
    assert samples(freshness_families(Answer({}, "away"))) == {}
