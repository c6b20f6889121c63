"""The tasks of upkeep: what each is for and how often it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

COMPACTION: Final = "compaction"
RETENTION: Final = "retention"
GARBAGE: Final = "garbage"
MERGING: Final = "merging"
MATERIALIZATION: Final = "materialization"
DISK: Final = "disk"
FRESHNESS: Final = "freshness"
ALERTS: Final = "alerts"
QUALITY: Final = "quality"
DRIFT: Final = "drift"
RECONCILIATION: Final = "reconciliation"
PUBLICATION: Final = "publication"

PERIODS: Final[Mapping[str, timedelta]] = {
    # A segment is raw Parquet within two minutes of its end: this, the look for what is due, and the work itself.
    COMPACTION: timedelta(minutes=1),
    DISK: timedelta(seconds=30),
    FRESHNESS: timedelta(seconds=30),
    ALERTS: timedelta(seconds=30),
    QUALITY: timedelta(minutes=1),
    MATERIALIZATION: timedelta(minutes=5),
    PUBLICATION: timedelta(minutes=15),
    RETENTION: timedelta(hours=1),
    DRIFT: timedelta(hours=1),
    GARBAGE: timedelta(hours=6),
    MERGING: timedelta(hours=6),
    # Archives have a day some hours after its end, each at its time.
    RECONCILIATION: timedelta(hours=6),
}

Reach = Callable[[float], None]
"""Told how far a run has come, 0 to 1. Raises Interrupted when the process wants to end: call it between two steps that
each leave everything whole."""


@dataclass(frozen=True, slots=True)
class UpkeepTask:
    """A task by name: run again it continues where it was interrupted, run twice it does nothing the second time.

    run: returns what it did as a JSON object; ``problems`` in it are texts that need attention.
    """

    name: str
    run: Callable[[Reach], Mapping[str, Any]]
