"""Calibration of what is right, too bold, and without spread."""

from __future__ import annotations

import numpy as np
import pytest

from training_sets.dataset.calibration import calibration_of_classes, calibration_of_values

DIRECTIONS = {"down": -1.0, "flat": 0.0, "up": 1.0}
GENERATOR = np.random.default_rng(5)


def test_a_prediction_that_is_twice_too_bold_has_half_a_slope() -> None:
    actual = GENERATOR.standard_normal(1_000)
    found = calibration_of_values(actual, 2.0 * actual + 3.0)
    assert (found["slope"], found["intercept"]) == (pytest.approx(0.5), pytest.approx(-1.5))
    assert [each["rows"] for each in found["bins"]] == [100] * 10
    assert all(each["predicted"] == pytest.approx(2.0 * each["happened"] + 3.0) for each in found["bins"])


@pytest.mark.parametrize("constant", [0.5, 0.0001])
def test_a_constant_has_no_line(constant: float) -> None:
    """The mean of seven times 0.0001 is another number."""
    found = calibration_of_values(np.arange(7.0), np.full(7, constant))
    assert (found["slope"], found["intercept"]) == (None, None)
    assert sum(each["rows"] for each in found["bins"]) == 7


def test_probabilities_that_come_true_have_no_error_and_certain_wrong_ones_have_all() -> None:
    up = GENERATOR.uniform(0, 1, 20_000)
    actual = np.where(GENERATOR.uniform(0, 1, 20_000) < up, 1.0, -1.0)
    right = calibration_of_classes(DIRECTIONS, actual, np.stack([1.0 - up, np.zeros(20_000), up], axis=1))
    assert right["up"]["expected_error"] < 0.02
    assert len(right["up"]["bins"]) == 10
    assert right["flat"] == {
        "expected_error": 0.0,
        "bins": [{"rows": 20_000, "predicted": 0.0, "happened": 0.0}],
    }
    wrong = calibration_of_classes(DIRECTIONS, np.array([1.0, 1.0]), np.array([[1.0, 0.0, 0.0]] * 2))
    assert wrong["down"]["expected_error"] == wrong["up"]["expected_error"] == 1.0
