"""Why values of rows are unknown, as the status of their group says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.rows import FeatureRows
from transforms.status import OK, REASON_NAMES, UNDEFINED


def reason_of(status: int) -> str:
    """Of an unknown value whose group has a status: where that is OK the inputs are known and the formula has none."""
    return REASON_NAMES[UNDEFINED if status == OK else status]


def unknown_by_reason(rows: FeatureRows, is_unknown: npt.NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Of each column that has unknown values, in order, the share of the rows in which it is for which reason."""
    found: dict[str, dict[str, float]] = {}
    for at, group in enumerate(rows.feature_set.groups):
        of_group = is_unknown[:, list(group.indices)]
        for status in np.unique(rows.status[:, at]).tolist():
            shares = of_group[rows.status[:, at] == status].sum(axis=0) / len(rows)
            for column, share in zip(group.columns, shares.tolist(), strict=True):
                if share:
                    found.setdefault(column, {})[reason_of(status)] = round(share, 6)
    return {column: found[column] for column in rows.feature_set.columns if column in found}
