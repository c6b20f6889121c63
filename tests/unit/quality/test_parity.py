"""Parity counts rows that differ in any bit, and rows that only one side has."""

from __future__ import annotations

import numpy as np

from market.clock import SECOND_NS
from quality.parity import compare_rows
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from transforms.status import GAP, OK

SET = FeatureSet("1.0.0", ("a", "b"), (FeatureGroup("g", "f", ("a", "b"), (0, 1)),), "s")


def rows(times: list[int], values: list[list[float]], status: int = OK) -> FeatureRows:
    return FeatureRows(
        "X",
        SET,
        np.array(times, np.int64) * SECOND_NS,
        np.array(values, np.float64).reshape(len(times), 2),
        np.full((len(times), 1), status, np.int8),
    )


def test_equal_rows_are_exact_nan_included() -> None:
    parity = compare_rows(rows([1, 2], [[1, np.nan], [2, 3]]), rows([1, 2], [[1, np.nan], [2, 3]]))
    assert parity.is_exact
    assert parity.compared == 2


def test_one_bit_is_a_mismatch_that_names_its_place() -> None:
    parity = compare_rows(rows([1, 2], [[1, 2], [0.1 + 0.2, 4]]), rows([1, 2], [[1, 2], [0.3, 4]]))
    assert (parity.mismatched, parity.missing, parity.extra) == (1, 0, 0)
    assert str(parity.first_divergence) == "X 1970-01-01T00:00:02Z a: served 0.30000000000000004, rebuilt 0.3"


def test_minus_zero_is_not_zero() -> None:
    assert compare_rows(rows([1], [[0.0, 1]]), rows([1], [[-0.0, 1]])).mismatched == 1


def test_another_status_is_a_mismatch() -> None:
    parity = compare_rows(rows([1], [[1, 2]]), rows([1], [[1, 2]], status=GAP))
    assert parity.mismatched == 1
    assert parity.first_divergence is not None
    assert parity.first_divergence.feature == "status of g"


def test_rows_of_one_side_are_missing_or_extra() -> None:
    parity = compare_rows(rows([1, 2], [[1, 2], [3, 4]]), rows([2, 3], [[3, 4], [5, 6]]))
    assert (parity.compared, parity.mismatched, parity.missing, parity.extra) == (1, 0, 1, 1)
    assert not parity.is_exact
    assert str(parity.first_divergence) == "X 1970-01-01T00:00:01Z the row: served present, rebuilt absent"


def test_the_first_divergence_is_the_earliest_whatever_it_is() -> None:
    parity = compare_rows(rows([1, 3], [[1, 2], [3, 4]]), rows([1, 2, 3], [[9, 2], [0, 0], [3, 4]]))
    assert parity.first_divergence is not None
    assert (parity.first_divergence.row_ns, parity.first_divergence.feature) == (SECOND_NS, "a")
    parity = compare_rows(rows([1, 3], [[1, 2], [3, 4]]), rows([1, 2, 3], [[1, 2], [0, 0], [3, 9]]))
    assert str(parity.first_divergence) == "X 1970-01-01T00:00:02Z the row: served absent, rebuilt present"


def test_nothing_compared_is_not_exact() -> None:
    assert not compare_rows(rows([], []), rows([], [])).is_exact
