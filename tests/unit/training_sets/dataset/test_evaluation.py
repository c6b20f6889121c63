"""Measures against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.errors import InvalidRequest
from training_sets.dataset.evaluation import evaluate
from training_sets.request.targets import (
    ClassificationTarget,
    MetaLabelTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    TripleBarrierTarget,
)

VALUE = RegressionTarget(SECOND_NS)
SIDE = ClassificationTarget(SECOND_NS)
VERDICT = MetaLabelTarget(SECOND_NS)
ACTUAL = np.array([1.0, -2.0, 3.0, 0.0])
PREDICTED = np.array([2.0, -1.0, -1.0, 0.0])
CLASSES = np.array([-1.0, -1.0, 0.0, 1.0, 1.0, 1.0])
CHOSEN = np.array([-1.0, 0.0, 0.0, 1.0, 1.0, -1.0])


def test_values_are_measured_as_by_hand() -> None:
    found = evaluate(VALUE, ACTUAL, PREDICTED)
    # Errors 1, 1, -4, 0; the target's mean is 0.5 and its sum of squares about it 0.25 + 6.25 + 6.25 + 0.25 = 13.
    assert found["mse"] == 18 / 4
    assert found["rmse"] == math.sqrt(4.5)
    assert found["mae"] == 6 / 4
    assert found["r2"] == 1 - 18 / 13
    assert found["directional_accuracy"] == 3 / 4
    # Held sides give 1, 2, -3, 0: mean 0, worst fall from 3 to 0, gains 3 by losses 3.
    assert found["sharpe_ratio"] == 0.0
    assert found["sortino_ratio"] == 0.0
    assert found["max_drawdown"] == 3.0
    assert found["profit_factor"] == 1.0
    # Deviations 0.5, -2.5, 2.5, -0.5 and 2, -1, -1, 0.
    assert found["correlation"] == pytest.approx((1 + 2.5 - 2.5) / math.sqrt(13 * 6))
    # Ranks 3, 1, 4, 2 and 4, 1.5, 1.5, 3: deviations 0.5, -1.5, 1.5, -0.5 and 1.5, -1, -1, 0.5.
    assert found["rank_correlation"] == pytest.approx((0.75 + 1.5 - 1.5 - 0.25) / math.sqrt(5 * 4.5))


def test_a_risk_adjusted_target_has_the_measures_of_values() -> None:
    target = RiskAdjustedTarget(SECOND_NS)
    found = evaluate(target, np.array([1.0, 2.0, -1.0]), np.array([0.3, 0.1, 0.2]), ["sharpe_ratio", "sortino_ratio"])
    # Returns 1, 2, -1: mean 2/3, mean of squares 2, squared losses 1 over 3 rows.
    assert found == {
        "sharpe_ratio": pytest.approx((2 / 3) / math.sqrt(2 - 4 / 9)),
        "sortino_ratio": pytest.approx((2 / 3) / math.sqrt(1 / 3)),
    }


@pytest.mark.parametrize("target", [SIDE, TripleBarrierTarget(SECOND_NS)])
def test_classes_are_measured_as_by_hand(target: ClassificationTarget | TripleBarrierTarget) -> None:
    found = evaluate(target, CLASSES, CHOSEN)
    assert found == {
        "accuracy": 4 / 6,
        "balanced_accuracy": pytest.approx((1 / 2 + 1 + 2 / 3) / 3),
        "precision": {"down": 1 / 2, "flat": 1 / 2, "up": 1.0},
        "recall": {"down": 1 / 2, "flat": 1.0, "up": 2 / 3},
        "f1": {"down": 2 / 4, "flat": 2 / 3, "up": 4 / 5},
        "macro_f1": pytest.approx((2 / 4 + 2 / 3 + 4 / 5) / 3),
        "confusion_matrix": [[1, 1, 0], [0, 1, 0], [1, 0, 2]],
    }


def test_probabilities_choose_the_likeliest_class_and_are_measured_themselves() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.0, 0.2, 0.8]])
    found = evaluate(SIDE, np.array([-1.0, 0.0]), probabilities)
    assert found["accuracy"] == 1 / 2
    assert found["log_loss"] == pytest.approx((math.log(2) + math.log(5)) / 2)
    assert found["brier_score"] == pytest.approx((0.25 + 0.0625 + 0.0625 + 0.0 + 0.64 + 0.64) / 2)


def test_a_verdict_on_trades_is_wrong_or_right() -> None:
    actual = np.array([0.0, 0.0, 1.0, 1.0])
    found = evaluate(VERDICT, actual, np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.5, 0.5]]))
    # Chosen 0, 1, 1, 0: the first of equals.
    assert found["confusion_matrix"] == [[1, 1], [1, 1]]
    assert found["precision"] == found["recall"] == found["f1"] == {"wrong": 1 / 2, "right": 1 / 2}
    assert found["brier_score"] == pytest.approx((0.02 + 0.72 + 0.08 + 0.5) / 4)
    assert found["log_loss"] == pytest.approx(-math.log(0.9 * 0.4 * 0.8 * 0.5) / 4)


def test_what_the_rows_cannot_give_is_none() -> None:
    assert evaluate(VALUE, np.full(7, 0.0001), np.arange(7.0), ["r2"]) == {"r2": None}  # its mean rounds
    constant = evaluate(VALUE, np.ones(3), np.ones(3))
    for name in ("r2", "correlation", "rank_correlation", "sharpe_ratio", "sortino_ratio", "profit_factor"):
        assert constant[name] is None
    one_class = evaluate(SIDE, np.zeros(3), np.zeros(3), ["precision", "recall", "macro_f1"])
    assert one_class == {
        "precision": {"down": None, "flat": 1.0, "up": None},
        "recall": {"down": None, "flat": 1.0, "up": None},
        "macro_f1": 1.0,
    }


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40))
def test_correlations_are_those_of_pandas(pairs: list[tuple[int, int]]) -> None:
    actual, predicted = np.array(pairs, np.float64).T
    found = evaluate(VALUE, actual, predicted, ["correlation", "rank_correlation"])
    if len(set(actual)) == 1 or len(set(predicted)) == 1:
        assert found == {"correlation": None, "rank_correlation": None}
    else:
        frame = pd.DataFrame({"actual": actual, "predicted": predicted})
        pearson, spearman = frame.corr("pearson").iloc[0, 1], frame.corr("spearman").iloc[0, 1]
        assert found["correlation"] == pytest.approx(pearson, abs=1e-12)
        assert found["rank_correlation"] == pytest.approx(spearman, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "predicted", "rule"),
    [
        (VALUE, np.zeros(5), r"must be of shape \(4,\), a row each in the order of the split, was \(5,\)"),
        (VALUE, np.zeros((4, 3)), r"must be of shape \(4,\)"),
        (VALUE, np.array([1.0, 2.0, 3.0, np.nan]), "must be finite numbers"),
        (VALUE, np.array([1.0, 2.0, 3.0, -1e308]), r"must be 1e\+100 or less in size, was 1e\+308"),
        (SIDE, np.array([0.0, 1.0, 2.0, 0.0]), r"must be of -1 \(down\), 0 \(flat\), 1 \(up\), was another number"),
        (SIDE, np.full((4, 3), 0.4), "probabilities must sum to 1"),
        (SIDE, np.zeros((4, 2)), r"must be of shape \(4,\) or \(4, 3\)"),
        (VERDICT, np.array([0.0, 1.0, -1.0, 0.0]), r"must be of 0 \(wrong\), 1 \(right\), was another number"),
        (VERDICT, np.full((4, 3), 1 / 3), r"must be of shape \(4,\) or \(4, 2\)"),
    ],
)
def test_predictions_that_cannot_be_measured_are_refused(
    target: RegressionTarget | ClassificationTarget,
    predicted: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    rule: str,
) -> None:
    with pytest.raises(InvalidRequest, match=rule):
        evaluate(target, np.zeros(4), predicted)


def test_an_unknown_measure_and_an_empty_split_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"must be of mse, rmse, .* was accuracy"):
        evaluate(VALUE, ACTUAL, PREDICTED, ["mse", "accuracy"])
    with pytest.raises(InvalidRequest, match=r"must be of accuracy, .* was log_loss"):
        evaluate(SIDE, CLASSES, CHOSEN, ["log_loss"])
    with pytest.raises(InvalidRequest, match="must be of a split with rows"):
        evaluate(VALUE, np.empty(0), np.empty(0))


def test_sums_are_of_returns_that_do_not_overlap() -> None:
    actual = np.array([-0.1, -0.1, -0.1, 0.2])
    predicted = np.ones(4)
    every = evaluate(VALUE, actual, predicted, ["max_drawdown", "profit_factor"])
    assert every == {"max_drawdown": pytest.approx(0.3), "profit_factor": pytest.approx(2 / 3)}
    apart = evaluate(VALUE, actual, predicted, list(every), apart=lambda returns: returns[[0, 3]])
    assert apart == {"max_drawdown": pytest.approx(0.1), "profit_factor": pytest.approx(2.0)}
    none = evaluate(VALUE, actual, predicted, list(every), apart=lambda returns: returns[:0])
    assert none == {"max_drawdown": None, "profit_factor": None}
