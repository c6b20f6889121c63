"""Continuity: whether a series of row times has the rows it should have, and where it has not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, floor_to, format_iso, utc_date

Int64s = npt.NDArray[np.int64]

GAPS_TOLD: Final = 10


@dataclass(frozen=True, slots=True)
class ContinuityRules:
    """What is a gap, and what may be missing.

    max_gap_ratio: a longer step than this many intervals is a gap. min_coverage: the smallest share of the expected
    rows. critical_gap_ns: a gap from this length on is critical. fail_on_critical: whether such a gap fails a build.
    detects_interval: whether rows without an interval of their own are held to the median of their steps, and not to
    expected_interval_ns, which is that of fewer than two rows too.
    """

    max_gap_ratio: float = 5.0
    min_coverage: float = 0.8
    critical_gap_ns: int = HOUR_NS
    fail_on_critical: bool = False
    expected_interval_ns: int = MINUTE_NS
    detects_interval: bool = True


@dataclass(frozen=True, slots=True)
class Continuity:
    """What was found; ``document`` is JSON."""

    document: dict[str, Any]
    warnings: tuple[str, ...]
    is_critical: bool


class VaryingTally:
    """Rows without an interval of their own, events or chosen times: compared once all of them are known."""

    def __init__(self, thing: str, *, start_ns: int, end_ns: int, rules: ContinuityRules) -> None:
        self._thing = thing
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._rules = rules
        self._times_ns: list[Int64s] = []

    def add(self, times_ns: Int64s) -> None:
        """As ``ContinuityTally.add``; 8 bytes of each row are kept."""
        first, last = np.searchsorted(times_ns, [self._start_ns, self._end_ns])
        self._times_ns.append(times_ns[first:last])

    def finish(self) -> Continuity:
        """What was found. Events come in bursts: of a detected interval no coverage is asked for."""
        times_ns = np.concatenate([np.empty(0, np.int64), *self._times_ns])
        is_detected = self._rules.detects_interval and len(times_ns) > 1
        interval_ns = int(np.median(np.diff(times_ns))) if is_detected else self._rules.expected_interval_ns
        tally = ContinuityTally(
            self._thing,
            start_ns=self._start_ns,
            end_ns=self._end_ns,
            interval_ns=interval_ns,
            rules=replace(self._rules, min_coverage=0.0) if is_detected else self._rules,
        )
        tally.add(times_ns)
        found = tally.finish()
        return replace(found, document={**found.document, "is_interval_detected": is_detected})


class ContinuityTally:
    """Compares row times with one row an interval in [start, end), over any number of pieces."""

    def __init__(self, thing: str, *, start_ns: int, end_ns: int, interval_ns: int, rules: ContinuityRules) -> None:
        self._thing = thing
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._interval_ns = interval_ns
        self._rules = rules
        self._rows = 0
        # A period without its first or its last rows is as torn as one with a hole.
        self._last_ns = start_ns
        self._gaps = 0
        self._critical_gaps = 0
        self._largest: tuple[int, int] = (start_ns, start_ns)
        self._of_day: Counter[int] = Counter()
        self._first_gaps: list[tuple[int, int]] = []

    def add(self, times_ns: Int64s) -> None:
        """Take the rows that lie in the period: int64 (n,), ascending, after those of the piece before."""
        first, last = np.searchsorted(times_ns, [self._start_ns, self._end_ns])
        if first < last:
            self._step(times_ns[first:last], self._rules.max_gap_ratio * self._interval_ns)
            self._rows += int(last - first)
            days, counts = np.unique(times_ns[first:last] // DAY_NS * DAY_NS, return_counts=True)
            self._of_day.update(dict(zip(days.tolist(), counts.tolist(), strict=True)))

    def finish(self) -> Continuity:
        """What was found."""
        self._step(
            np.array([self._end_ns], np.int64), self._rules.max_gap_ratio * self._interval_ns if self._rows else 0
        )
        expected_rows = self._expected(self._start_ns, self._end_ns)
        coverage = min(self._rows / expected_rows, 1.0)
        largest_ns = self._largest[1] - self._largest[0]
        is_critical = largest_ns >= self._rules.critical_gap_ns
        warnings = []
        if coverage < self._rules.min_coverage:
            warnings.append(f"{self._thing}: coverage must be {self._rules.min_coverage:g} or more, was {coverage:.4f}")
        if is_critical:
            warnings.append(
                f"{self._thing}: gaps must be shorter than {self._rules.critical_gap_ns // SECOND_NS} s, was "
                f"{largest_ns // SECOND_NS} s"
            )
        document = {
            "name": self._thing,
            "start": format_iso(self._start_ns),
            "end": format_iso(self._end_ns),
            "expected_interval_seconds": self._interval_ns / SECOND_NS,
            "actual_timestamps_count": self._rows,
            "expected_timestamps_count": expected_rows,
            "actual_coverage_ratio": coverage,
            "gap_count": self._gaps,
            "critical_gaps_count": self._critical_gaps,
            "warnings_count": len(warnings),
            "largest_gap_seconds": largest_ns // SECOND_NS,
            "largest_gap_start": format_iso(self._largest[0]) if largest_ns else None,
            "largest_gap_end": format_iso(self._largest[1]) if largest_ns else None,
            "coverage_by_period": self._coverage_by_day(),
            "gap_locations": [
                {"start": format_iso(start_ns), "end": format_iso(end_ns), "seconds": (end_ns - start_ns) // SECOND_NS}
                for start_ns, end_ns in self._first_gaps
            ],
        }
        return Continuity(document, tuple(warnings), is_critical)

    def _expected(self, start_ns: int, end_ns: int) -> int:
        return -((start_ns - end_ns) // self._interval_ns)

    def _coverage_by_day(self) -> dict[str, float]:
        """The share of the expected rows by UTC date."""
        found = {}
        for day_ns in range(floor_to(self._start_ns, DAY_NS), self._end_ns, DAY_NS):
            expected = self._expected(max(day_ns, self._start_ns), min(day_ns + DAY_NS, self._end_ns))
            found[utc_date(day_ns)] = min(self._of_day[day_ns] / expected, 1.0)
        return found

    def _step(self, times_ns: Int64s, longest_ns: float) -> None:
        """Go on to each of these times; a longer step than ``longest_ns`` is a gap."""
        lengths_ns = np.diff(times_ns, prepend=self._last_ns)
        gaps = np.flatnonzero(lengths_ns > longest_ns)
        if len(gaps) > 0:
            self._gaps += len(gaps)
            self._critical_gaps += int(np.count_nonzero(lengths_ns[gaps] >= self._rules.critical_gap_ns))
            greatest = int(gaps[np.argmax(lengths_ns[gaps])])
            if lengths_ns[greatest] > self._largest[1] - self._largest[0]:
                self._largest = (int(times_ns[greatest] - lengths_ns[greatest]), int(times_ns[greatest]))
            for at in gaps[: GAPS_TOLD - len(self._first_gaps)].tolist():
                self._first_gaps.append((int(times_ns[at] - lengths_ns[at]), int(times_ns[at])))
        self._last_ns = int(times_ns[-1])
