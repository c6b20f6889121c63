"""Continuity: whether a series of row times has the rows it should have, and where it has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import SECOND_NS, format_iso

Int64s = npt.NDArray[np.int64]

GAPS_TOLD: Final = 10


@dataclass(frozen=True, slots=True)
class ContinuityRules:
    """What is a gap, and what may be missing.

    max_gap_ratio: a longer step than this many intervals is a gap. min_coverage: the smallest share of the expected
    rows. critical_gap_ns: a gap from this length on is critical. fail_on_critical: whether such a gap fails a build.
    """

    max_gap_ratio: float = 5.0
    min_coverage: float = 0.8
    critical_gap_ns: int = 3600 * SECOND_NS
    fail_on_critical: bool = False


@dataclass(frozen=True, slots=True)
class Continuity:
    """What was found; ``document`` is JSON."""

    document: dict[str, Any]
    warnings: tuple[str, ...]
    is_critical: bool


def check_continuity(
    thing: str, times_ns: Int64s, *, start_ns: int, end_ns: int, interval_ns: int | None, rules: ContinuityRules
) -> Continuity:
    """Compare row times with one row an interval in [start, end).

    times_ns: int64 (n,), ascending, within the period. interval_ns: None expects the median step.
    """
    expected_ns = interval_ns
    if expected_ns is None:
        expected_ns = int(np.median(np.diff(times_ns))) if len(times_ns) > 1 else end_ns - start_ns
    # A period without its first or its last rows is as torn as one with a hole.
    edges = np.concatenate([[start_ns], times_ns, [end_ns]])
    lengths_ns = np.diff(edges)
    gaps = np.flatnonzero(lengths_ns > (rules.max_gap_ratio * expected_ns if len(times_ns) > 0 else 0))
    expected_rows = -((start_ns - end_ns) // expected_ns)
    coverage = min(len(times_ns) / expected_rows, 1.0)
    largest_ns = int(lengths_ns[gaps].max()) if len(gaps) > 0 else 0
    is_critical = largest_ns >= rules.critical_gap_ns
    warnings = []
    if coverage < rules.min_coverage:
        warnings.append(f"{thing}: coverage must be {rules.min_coverage:g} or more, was {coverage:.4f}")
    if is_critical:
        warnings.append(
            f"{thing}: gaps must be shorter than {rules.critical_gap_ns // SECOND_NS} s, was "
            f"{largest_ns // SECOND_NS} s"
        )
    return Continuity(
        {
            "name": thing,
            "start": format_iso(start_ns),
            "end": format_iso(end_ns),
            "expected_interval_seconds": expected_ns / SECOND_NS,
            "rows": len(times_ns),
            "expected_rows": expected_rows,
            "coverage": coverage,
            "gaps": len(gaps),
            "largest_gap_seconds": largest_ns // SECOND_NS,
            "first_gaps": [
                {
                    "start": format_iso(int(edges[at])),
                    "end": format_iso(int(edges[at + 1])),
                    "seconds": int(lengths_ns[at]) // SECOND_NS,
                }
                for at in gaps[:GAPS_TOLD].tolist()
            ],
        },
        tuple(warnings),
        is_critical,
    )
