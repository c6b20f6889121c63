"""Courses: how figures of a period went on in it, in few parts, for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from transforms.rows import FeatureRows

MOST_PARTS: Final = 60


def offset_course(minutes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """The median, ms, of as many minutes each as make MOST_PARTS, with the begin of the first of them.

    minutes: (begin ns, median offset ns), one at least, as ``ClockOffset`` has them.
    """
    parts = np.array_split(np.array(minutes), min(len(minutes), MOST_PARTS))
    return [{"time": format_iso(int(part[0, 0])), "ms": float(np.median(part[:, 1])) / 1e6} for part in parts]


def unknown_course(
    rows: FeatureRows, is_unknown: npt.NDArray[np.bool_], from_ns: int, to_ns: int
) -> dict[str, list[float | None]]:
    """Of each group the share of its values that was unknown in each of MOST_PARTS parts of the period.

    None where it has no row.
    """
    part = (rows.row_ns - from_ns) * MOST_PARTS // (to_ns - from_ns)
    is_inside = (part >= 0) & (part < MOST_PARTS)
    part = part[is_inside]
    count = np.bincount(part, minlength=MOST_PARTS)
    found: dict[str, list[float | None]] = {}
    for group in rows.feature_set.groups:
        share = is_unknown[:, list(group.indices)].mean(axis=1)[is_inside]
        total = np.bincount(part, weights=share, minlength=MOST_PARTS)
        found[group.name] = [
            round(each / of, 6) if of else None for each, of in zip(total.tolist(), count.tolist(), strict=True)
        ]
    return found
