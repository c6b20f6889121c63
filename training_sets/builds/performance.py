"""Performance of a build: how long each phase took, and the most memory that its process was seen to hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from market.clock import SECOND_NS
from training_sets.builds.builder import PRICES_STEP, Dataset

_STATM: Final = Path("/proc/self/statm")
_MEBIBYTE: Final = 1024.0 * 1024.0


class BuildPerformance:
    """Told of each step as it begins, and of pieces as they pass.

    now_ns: of a clock. Memory is that of the whole process, other builds in it too, but not that of processes which
    rebuild days; None where the system does not tell it.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self.begun_ns = now_ns()
        self._phase: str | None = None
        self._phase_ns = self.begun_ns
        self._phases_ns: dict[str, int] = {}
        self._peak = 0

    def begin(self, phase: str) -> None:
        """A phase begins, and the one before it ends."""
        self.look()
        now_ns = self._now_ns()
        before = self._phase if self._phase is not None else "beginning"
        self._phases_ns[before] = self._phases_ns.get(before, 0) + now_ns - self._phase_ns
        self._phase, self._phase_ns = phase, now_ns

    def look(self) -> None:
        """See how much memory is held now."""
        if _STATM.exists():
            self._peak = max(self._peak, int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    def features_seconds(self) -> float:
        """From the beginning until features were there, and prices were read."""
        until_prices = takewhile(lambda phase: phase != PRICES_STEP, self._phases_ns)
        return sum(self._phases_ns[phase] for phase in until_prices) / SECOND_NS

    def document(self, built: Dataset) -> dict[str, Any]:
        """As JSON, of what was built by now. Days are those of ``/cache/statistics``, of this build alone."""
        self.begin("told")
        seconds = sum(self._phases_ns.values()) / SECOND_NS
        records = sum(built.records.values())
        return {
            "build_duration_seconds": seconds,
            "phase_seconds": {phase: taken_ns / SECOND_NS for phase, taken_ns in self._phases_ns.items()},
            "peak_memory_mb": self._peak / _MEBIBYTE if self._peak else None,
            "records_per_second": records / seconds if seconds > 0 else None,
            "cache_hits_count": built.days_reused,
            "cache_misses_count": built.days_computed,
        }
