"""Bookkeeping: where builds are recorded, queued and announced, shared by every process on the same database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from market.clock import Clock, to_datetime
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from training_sets.builds.notices import Announcer


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """make_id: a new dataset id at each call."""

    metadata: Metadata
    queue: JobQueue
    announcer: Announcer
    clock: Clock
    make_id: Callable[[], str]

    def now(self) -> datetime:
        """The time as records state it."""
        return to_datetime(self.clock.now_ns())
