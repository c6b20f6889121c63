"""Planted leaks are caught by name, and what is clean is left alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import SECOND_NS
from training_sets.checks.leakage import Column, Compute, find_leaks
from training_sets.request.folds import Fold, Period
from training_sets.request.targets import (
    ClassificationTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    Target,
    TripleBarrierTarget,
)
from training_sets.samples.labels import make_labels
from training_sets.samples.prices import price_series
from training_sets.samples.splits import SplitRules, assign_rows

ROWS = 120
TIMES_NS = np.arange(ROWS, dtype=np.int64) * SECOND_NS
WALK = 100.0 + np.cumsum(np.random.default_rng(1).standard_normal(ROWS)) * 0.1
HORIZON_NS = 10 * SECOND_NS
TRAIN_END_NS = 80 * SECOND_NS
CUTS_NS = [20 * SECOND_NS, 50 * SECOND_NS, TRAIN_END_NS - SECOND_NS, 100 * SECOND_NS]
FOLD = Fold(None, (Period("train", 0, TRAIN_END_NS), Period("validation", TRAIN_END_NS, ROWS * SECOND_NS)))

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


def mean_of(values: Float64s, back: int, ahead: int) -> Float64s:
    return np.array([values[max(0, at - back) : at + ahead + 1].mean() for at in range(len(values))])


def trailing_mean(values: Float64s) -> Float64s:
    return mean_of(values, 4, 0)


def centred_mean(values: Float64s) -> Float64s:
    return mean_of(values, 2, 2)


def with_holes(values: Float64s) -> Float64s:
    return np.where(np.arange(len(values)) % 7 < 3, np.nan, values)


def back_filled(values: Float64s) -> Float64s:
    filled = with_holes(values)
    for at in reversed(range(len(filled) - 1)):
        if np.isnan(filled[at]):
            filled[at] = filled[at + 1]
    return filled


def forward_filled(values: Float64s) -> Float64s:
    filled = with_holes(values)
    for at in range(1, len(filled)):
        if np.isnan(filled[at]):
            filled[at] = filled[at - 1]
    return filled


def z_score_of_everything(values: Float64s) -> Float64s:
    scaled: Float64s = (values - values.mean()) / values.std()
    return scaled


def z_score_of_train(values: Float64s) -> Float64s:
    train = values[TIMES_NS < TRAIN_END_NS]
    scaled: Float64s = (values - train.mean()) / train.std()
    return scaled


def label(values: Float64s, target: Target) -> Float64s:
    return make_labels(TIMES_NS, price_series("mid_price", TIMES_NS, values, step_ns=SECOND_NS), target)


def return_ahead(values: Float64s) -> Float64s:
    return label(values, RegressionTarget(HORIZON_NS))


def leaking(compute: Compute, cuts_ns: list[int] = CUTS_NS) -> list[str]:
    return [leak.column for leak in find_leaks(compute, TIMES_NS, WALK, cuts_ns=cuts_ns, seed=7)]


@pytest.mark.parametrize(
    ("name", "compute", "known_ns"),
    [
        ("centred", centred_mean, TIMES_NS),
        ("back_filled", back_filled, TIMES_NS),
        ("z_score", z_score_of_everything, np.maximum(TIMES_NS, TRAIN_END_NS - SECOND_NS)),
        ("label_as_feature", return_ahead, TIMES_NS),
    ],
)
def test_a_planted_leak_is_caught_by_name_beside_a_clean_column(name: str, compute: object, known_ns: Int64s) -> None:
    assert callable(compute)

    def columns(_times: Int64s, values: Float64s) -> Mapping[str, Column]:
        return {"clean": Column(trailing_mean(values), TIMES_NS), name: Column(compute(values), known_ns)}

    assert leaking(columns) == [name]


def test_what_looks_back_or_is_fitted_on_train_alone_is_clean() -> None:
    def columns(_times: Int64s, values: Float64s) -> Mapping[str, Column]:
        return {
            "trailing": Column(trailing_mean(values), TIMES_NS),
            "forward_filled": Column(forward_filled(values), TIMES_NS),
            "scaled": Column(z_score_of_train(values), np.maximum(TIMES_NS, TRAIN_END_NS - SECOND_NS)),
        }

    assert leaking(columns) == []


@pytest.mark.parametrize("purge", [True, False])
def test_an_unpurged_boundary_is_a_leak_from_validation_into_train(purge: bool) -> None:  # noqa: FBT001  # a case
    assigned = assign_rows(TIMES_NS, FOLD, SplitRules(HORIZON_NS, purge=purge))
    is_train = assigned.is_kept & (assigned.period == 0)

    def columns(_times: Int64s, values: Float64s) -> Mapping[str, Column]:
        # What a model is trained on must be settled before validation begins.
        settled_ns = np.full(int(is_train.sum()), TRAIN_END_NS - 1)
        return {"target": Column(return_ahead(values)[is_train], settled_ns)}

    assert leaking(columns, [TRAIN_END_NS - 1]) == ([] if purge else ["target"])


@settings(max_examples=30)
@given(
    st.sampled_from(
        (
            RegressionTarget(HORIZON_NS, 2 * SECOND_NS),
            ClassificationTarget(HORIZON_NS),
            RiskAdjustedTarget(HORIZON_NS, volatility_window_ns=5 * SECOND_NS),
            TripleBarrierTarget(HORIZON_NS, upper=0.001, lower=0.002),
            TripleBarrierTarget(HORIZON_NS, upper=1.0, lower=1.0, by_volatility=True),
        )
    ),
    st.lists(st.integers(0, ROWS), min_size=1, max_size=5),
)
def test_no_label_depends_on_anything_after_its_end(target: Target, cuts: list[int]) -> None:
    def columns(_times: Int64s, values: Float64s) -> Mapping[str, Column]:
        return {target.name: Column(label(values, target), TIMES_NS + target.reach_ns)}

    assert leaking(columns, [cut * SECOND_NS for cut in cuts]) == []


def test_a_label_that_reaches_further_than_it_says_is_caught() -> None:
    def columns(_times: Int64s, values: Float64s) -> Mapping[str, Column]:
        further = label(values, RegressionTarget(HORIZON_NS + SECOND_NS))
        return {"target": Column(further, TIMES_NS + HORIZON_NS)}

    assert leaking(columns) == ["target"]


def test_a_leak_says_what_it_saw() -> None:
    def columns(_times: Int64s, values: Float64s) -> Mapping[str, Column]:
        return {"centred": Column(centred_mean(values), TIMES_NS)}

    [leak] = find_leaks(columns, TIMES_NS, WALK, cuts_ns=[20 * SECOND_NS], seed=1)
    assert str(leak) == (
        "centred: must not depend on anything after 1970-01-01T00:00:19Z, changed with what comes after "
        "1970-01-01T00:00:20Z"
    )
