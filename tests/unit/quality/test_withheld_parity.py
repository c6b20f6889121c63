"""A group that was withheld from readers is not compared; the others of its row are."""

from __future__ import annotations

import numpy as np

from quality.parity import compare_rows
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from transforms.status import QUARANTINED

GROUPS = (FeatureGroup("x", "", ("a", "c"), (0, 2)), FeatureGroup("y", "", ("b",), (1,)))
SET = FeatureSet("1", ("a", "b", "c"), GROUPS, "f")


def rows() -> FeatureRows:
    return FeatureRows("AUSDT", SET, np.arange(1, 5), np.ones((4, 3)), np.zeros((4, 2), np.int8))


def test_what_was_withheld_is_counted_and_no_difference() -> None:
    served = rows()
    served.values[1:3, [0, 2]] = np.nan
    served.status[1:3, 0] = QUARANTINED
    found = compare_rows(served, rows())
    assert (found.compared, found.mismatched, found.quarantined, found.is_exact) == (4, 0, 2, True)
    served.values[2, 1] = 2.0
    found = compare_rows(served, rows())
    assert (found.mismatched, found.quarantined) == (1, 2)
    assert found.first_divergence is not None
    assert (found.first_divergence.row_ns, found.first_divergence.feature) == (3, "b")
