"""The interpreter of our processes, set up for what they do: starting soon, or computing rows without a slow one."""

from __future__ import annotations

import gc
import sys
from typing import Final

SWITCH_INTERVAL_S: Final = 0.0005
"""How long a thread may keep the interpreter from another: a tenth of Python's own, for the slowest row's sake."""
GC_THRESHOLD: Final = 50_000
"""Allocations between two collections of the youngest objects; messages are freed without it."""


def collect_seldom() -> None:
    """Let a process import its libraries: looking for garbage among what they make was a quarter of that time."""
    gc.set_threshold(GC_THRESHOLD)


def tune() -> None:
    """What is there now lives as long as the process: leave it out of every collection to come."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
