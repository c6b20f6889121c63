"""Why a value is unknown: the status of a feature group in a row, and the reason of one missing feature."""

from __future__ import annotations

from typing import Final

OK: Final = 0
WARMUP: Final = 1
GAP: Final = 2
STALE: Final = 3
NO_DATA: Final = 4
UNDEFINED: Final = 5
"""Reason only, never a group's status: the inputs are known but give the formula no value (nothing traded)."""

STATUS_NAMES: Final = ("OK", "WARMUP", "GAP", "STALE", "NO_DATA")
REASON_NAMES: Final = (*STATUS_NAMES, "UNDEFINED")
