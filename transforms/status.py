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
QUARANTINED: Final = 6
"""Never of a kernel: what was served did not agree with the tape, and the group is withheld until it is released."""

STATUS_NAMES: Final = ("OK", "WARMUP", "GAP", "STALE", "NO_DATA", "UNDEFINED", "QUARANTINED")
REASON_NAMES: Final = STATUS_NAMES
"""The two share their numbers."""
