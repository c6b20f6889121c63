"""The watch over builds: none stays "building" forever, and none that ended stays unannounced.

1. A build whose worker died is put back in the queue, where any worker restarts it; its MOST_ATTEMPTS-th time, and
   one that a single process built for itself, it fails as interrupted.
2. A record whose job is gone, and one that was not started for LONGEST_WAIT_S, fail.
3. What ended and was not announced is announced.

From the death of a worker to its being seen it takes STALLED_AFTER_S of silence and WATCH_S at most.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import timedelta
from typing import Final

from market.errors import Conflict, NotFound, StoreUnavailable
from storage.database.dataset_records import DatasetRecord
from storage.database.job_queue import STALLED_AFTER_S, QueuedJob
from storage.outages import Outage
from training_sets.builds.attempt import MOST_ATTEMPTS
from training_sets.builds.bookkeeping import Bookkeeping
from training_sets.builds.builds import BUILD_TASK, MOST_WAITING, QUEUE
from training_sets.dataset.datasets import Datasets

WATCH_S: Final = 10.0
LONGEST_WAIT_S: Final = 86_400
INTERRUPTED: Final = "interrupted: the process that built it is gone"

_log = logging.getLogger(__name__)


class BuildWatch:
    """Looks after the builds of all processes; any number of watches may run."""

    def __init__(
        self,
        books: Bookkeeping,
        datasets: Datasets,
        *,
        watch_s: float = WATCH_S,
        grace_s: float = STALLED_AFTER_S,
    ) -> None:
        self._books = books
        self._metadata = books.metadata
        self._queue = books.queue
        self._datasets = datasets
        self._watch_s = watch_s
        self._grace = timedelta(seconds=grace_s)
        self._is_stopping = threading.Event()

    def run(self) -> None:
        """Look every ``watch_s`` until ``stop``; while the database is away it waits."""
        outage = Outage(_log, "watch over builds: the database", meanwhile=f"tried again every {self._watch_s:g} s")
        while not self._is_stopping.is_set():
            try:
                self.look()
            except StoreUnavailable as error:
                outage.begin(error)
            else:
                outage.end()
            self._is_stopping.wait(self._watch_s)

    def stop(self) -> None:
        """Let ``run`` return."""
        self._is_stopping.set()

    def look(self) -> int:
        """Put right what is wrong now; how many builds were failed. Raises StoreUnavailable."""
        failed = self._take_up_stalled() + self._fail_forgotten()
        self._books.announcer.announce()
        return failed

    def _take_up_stalled(self) -> int:
        failed = 0
        for job in self._queue.stalled():
            if job.queue == QUEUE and job.attempts + 1 < MOST_ATTEMPTS:
                _log.warning("%s %s: its worker is gone, %d before it", job.task, job.lock, job.attempts)
                self._queue.put_back(job)
                continue
            if job.task == BUILD_TASK:
                failed += self._fail(str(job.lock), INTERRUPTED)
            self._queue.end(job)
        return failed

    def _fail_forgotten(self) -> int:
        # The records first: a job that comes after them is among the jobs.
        records = self._metadata.list_datasets(status="building", limit=MOST_WAITING)
        if not records:
            return 0
        jobs = self._queue.unfinished()
        by_dataset = {job.lock: job for job in jobs}
        failed = 0
        for record in records:
            job = by_dataset.get(record.dataset_id)
            if (reason := self._why_forgotten(record, job)) is not None:
                failed += self._fail(record.dataset_id, reason)
                if job is not None:
                    self._queue.end(job)
        return failed

    def _why_forgotten(self, record: DatasetRecord, job: QueuedJob | None) -> str | None:
        silence = self._books.now() - record.updated_at
        if job is None or (job.queue != QUEUE and not job.is_running):
            return INTERRUPTED if silence >= self._grace else None
        if not job.is_running and silence.total_seconds() >= LONGEST_WAIT_S:
            return f"build: must start within {LONGEST_WAIT_S} s, did not; the jobs role must be running"
        return None

    def _fail(self, dataset_id: str, reason: str) -> int:
        # It may have ended meanwhile.
        with suppress(Conflict, NotFound):
            self._metadata.update_dataset(
                dataset_id, self._books.now(), expected_status="building", status="failed", error_message=reason
            )
            self._datasets.remove(dataset_id)
            return 1
        return 0
