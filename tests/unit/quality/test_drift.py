"""Drift is measured by the formulas that are cited, and is none where nothing has changed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quality.drift import (
    BINS,
    FEWEST_ROWS,
    LEAST_SHARE,
    USUAL_LIMITS,
    column_drift,
    column_sketch,
    moves_by_nature,
    table_drift,
    table_sketch,
)

RNG = np.random.default_rng(3)


def test_a_sketch_has_the_shares_between_its_cuts() -> None:
    sketch = column_sketch(np.append(np.arange(1000.0), [np.nan] * 250))
    assert len(sketch["cuts"]) == BINS - 1
    assert sketch["shares"] == pytest.approx([1 / BINS] * BINS, abs=0.002)
    assert (sketch["rows"], sketch["missing"]) == (1250, 0.2)


def test_few_values_are_told_apart_each() -> None:
    sketch = column_sketch(np.array([-100.0] * 5 + [0.0] * 990 + [100.0] * 5))
    assert sketch["cuts"] == [np.nextafter(-100.0, -np.inf), -100.0, 0.0, 100.0]
    assert sketch["shares"] == [0.0, 0.005, 0.99, 0.005, 0.0]
    now = np.array([-100.0] * 300 + [0.0] * 700)
    drift = column_drift(sketch, now, USUAL_LIMITS)
    by_hand = (0.3 - 0.005) * math.log(0.3 / 0.005) + (0.7 - 0.99) * math.log(0.7 / 0.99)
    by_hand += (LEAST_SHARE - 0.005) * math.log(LEAST_SHARE / 0.005)
    assert drift["psi"] == pytest.approx(by_hand)
    assert drift["ks"] == pytest.approx(0.295)
    assert drift["drifted"] == ["psi"]


@pytest.mark.parametrize("other", [0.5, 2.0])
def test_a_constant_that_becomes_another_has_drifted(other: float) -> None:
    sketch = column_sketch(np.ones(1000))
    assert column_drift(sketch, np.full(1000, other), USUAL_LIMITS)["drifted"] == ["psi", "ks"]
    assert column_drift(sketch, np.ones(1000), USUAL_LIMITS)["psi"] == 0


def test_ks_at_the_cuts_is_that_of_all_values_but_for_a_bin() -> None:
    then, now = RNG.standard_normal(20_000), RNG.standard_normal(3600) + 0.8
    both = np.sort(np.concatenate([then, now]))
    exact = np.abs(
        np.searchsorted(np.sort(then), both, "right") / len(then)
        - np.searchsorted(np.sort(now), both, "right") / len(now)
    ).max()
    found = column_drift(column_sketch(then), now, USUAL_LIMITS)
    assert exact - 1 / BINS <= found["ks"] <= exact + 1e-12
    assert found["drifted"] == ["psi", "ks"]


def test_the_same_distribution_has_not_drifted() -> None:
    for draw in (RNG.standard_normal, RNG.standard_exponential, RNG.random):
        found = column_drift(column_sketch(draw(20_000)), draw(3600), USUAL_LIMITS)
        assert found["psi"] < 0.05
        assert found["ks"] < 0.05
        assert found["drifted"] == []


def test_missing_values_drift_by_themselves_and_too_few_are_not_compared() -> None:
    sketch = column_sketch(RNG.standard_normal(1000))
    half = np.where(np.arange(1000) % 2, RNG.standard_normal(1000), np.nan)
    assert column_drift(sketch, half, USUAL_LIMITS)["drifted"] == ["missing"]
    few = column_drift(sketch, np.full(FEWEST_ROWS - 1, 9.0), USUAL_LIMITS)
    assert (few["psi"], few["ks"], few["drifted"]) == (None, None, [])
    unknown = column_drift(column_sketch(np.full(1000, np.nan)), half, USUAL_LIMITS)
    assert (unknown["psi"], unknown["missing_then"], unknown["drifted"]) == (None, 1.0, ["missing"])


def test_the_farthest_column_is_first_whichever_measure_says_so() -> None:
    columns = ("near", "unknown_now", "far")
    then = RNG.standard_normal((1000, 3))
    now = then + np.array([0.01, 0.0, 9.0])
    now[:900, 1] = np.nan
    found = table_drift(table_sketch(columns, then), columns, now, USUAL_LIMITS)
    assert list(found) == ["far", "unknown_now", "near"]
    few = table_drift(table_sketch(columns, then), columns, now[880:930], USUAL_LIMITS)
    assert few["far"]["psi"] is None
    assert next(iter(few)) == "unknown_now"


def test_a_price_and_the_hour_move_by_nature_and_never_count() -> None:
    columns = ("mid_price", "spread_rel", "unheard_of")
    then, now = np.full((500, 3), 1.0), np.full((500, 3), 2.0)
    found = table_drift(table_sketch(columns[:2], then[:, :2]), columns, now, USUAL_LIMITS)
    assert set(found) == {"mid_price", "spread_rel"}
    assert found["mid_price"]["psi"] > 1
    assert (found["mid_price"]["drifted"], found["mid_price"]["is_expected"]) == ([], True)
    assert (found["spread_rel"]["drifted"], found["spread_rel"]["is_expected"]) == (["psi", "ks"], False)
    assert moves_by_nature("time_of_day_sin") or moves_by_nature("time_of_day")
