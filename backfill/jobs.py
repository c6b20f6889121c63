"""A backfill's life: checked, recorded together with its job, then completed, failed or cancelled, day by day.

1. What can be known at once is refused at once. The record and its job come into being in one transaction; any number
   of processes with the jobs role may work, one at a time on a symbol.
2. The record names the days that are done: a restarted job, also after a kill, continues with the others.
3. A day that fails stops no other; when the others are done it is tried once more, and then named with its reason.
4. ``look`` puts back what a dead process left: a job whose worker is silent, and a record that has no job any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import date, datetime
from functools import partial
from typing import Any, Final

from backfill.archived_days import ArchivedAhead
from backfill.days import backfill_day, day_document
from backfill.fetching import Place, SymbolDay
from backfill.request import BackfillRequest, check_category, check_listed, check_request
from market.clock import to_datetime
from market.errors import Conflict, FeatureServiceError, NotFound, StoreUnavailable
from storage.database.backfill_jobs import BackfillRecord, BackfillStatus, BackfillStore
from storage.database.job_queue import HEARTBEAT_S, JobQueue, QueuedJob
from storage.database.job_worker import Interrupted, JobWorker
from storage.outages import Outage

QUEUE: Final = "backfill"
TASK: Final = "backfill_days"
LOOK_S: Final = 10.0
FORGOTTEN_AFTER_S: Final = 30.0
"""How long a record may be without a job: between the two checks a job may end."""
MOST_WAITING: Final = 64
_STEP_S: Final = 0.2

_log = logging.getLogger(__name__)


class _Cancelled(Exception):  # an end that was asked for, no error
    """The job was cancelled while it ran."""


class BackfillJobs:
    """Starts, follows, cancels and runs backfills; ``close`` it.

    open_place: where history comes from and goes to, opened at once; it is given the sleep that its client shall use,
    which ends when this is closed. make_id: a new job id at each call. most_days: of one request.
    """

    def __init__(
        self,
        store: BackfillStore,
        queue: JobQueue,
        open_place: Callable[[Callable[[float], None]], Place],
        *,
        make_id: Callable[[], str],
        most_days: int,
        is_enabled: bool = True,
    ) -> None:
        self._store = store
        self._queue = queue
        self._is_closing = threading.Event()
        self._place = open_place(self._sleep)
        self.category = self._place.rest.category
        self._make_id = make_id
        self.most_days = most_days
        self._is_enabled = is_enabled

    def now_ns(self) -> int:
        """The present time, by which days are counted."""
        return self._place.clock.now_ns()

    def start(self, request: BackfillRequest, *, trace_id: str | None = None) -> BackfillRecord:
        """Record a backfill and queue its job.

        Raises InvalidRequest, saying what is possible, Conflict when backfilling is switched off, StoreUnavailable.
        """
        return self._record(request, queue=QUEUE, job_id=self._make_id(), trace_id=trace_id)

    def run_here(
        self, request: BackfillRequest, *, on_progress: Callable[[BackfillRecord], None] = lambda _record: None
    ) -> BackfillRecord:
        """Record a backfill, do it in this process and return how it ended; an interrupt cancels it. Raises as start.

        Killed in between, it is taken up by a process with the jobs role.
        """
        job_id = self._make_id()
        queue = f"own-{job_id}"
        self._record(request, queue=queue, job_id=job_id)
        worker = self._queue.worker({TASK: self._run_queued}, queues=[queue])

        def give_up() -> None:
            with suppress(Conflict, NotFound):
                self.cancel(job_id)

        worker.run_aside_until_empty(
            name="backfill",
            look=lambda: on_progress(self._store.get(job_id)),
            look_s=_STEP_S,
            on_interrupt=give_up,
        )
        return self._store.get(job_id)

    def cancel(self, job_id: str) -> BackfillRecord:
        """End a job at its next step; days that are done stay. Raises NotFound, Conflict when it has ended."""
        return self._store.change(
            job_id, status="cancelled", current_date=None, end_time=self._now(), error_message="cancelled"
        )

    def get(self, job_id: str) -> BackfillRecord:
        """One job. Raises NotFound."""
        return self._store.get(job_id)

    def newest(
        self, *, status: BackfillStatus | None = None, symbol: str | None = None, limit: int = 100
    ) -> list[BackfillRecord]:
        """The newest jobs, newest first."""
        return self._store.newest(status=status, symbol=symbol, limit=limit)

    def worker(self, *, heartbeat_s: float = HEARTBEAT_S) -> JobWorker:
        """A worker for the queued jobs."""
        return self._queue.worker({TASK: self._run_queued}, queues=[QUEUE], heartbeat_s=heartbeat_s)

    def watch(self) -> None:
        """Look every LOOK_S until ``close``; while the database is away it waits."""
        outage = Outage(_log, "watch over backfills: the database", meanwhile=f"tried again every {LOOK_S:g} s")
        while not self._is_closing.is_set():
            try:
                self.look()
            except StoreUnavailable as error:
                outage.begin(error)
            else:
                outage.end()
            self._is_closing.wait(LOOK_S)

    def look(self, *, forgotten_after_s: float = FORGOTTEN_AFTER_S) -> int:
        """Queue abandoned jobs again; returns how many. Raises StoreUnavailable."""
        stalled = [job for job in self._queue.stalled() if job.task == TASK]
        for job in stalled:
            if job.queue == QUEUE:
                self._queue.put_back(job)
            else:
                self._queue.end(job)  # of a process that worked for itself: its record is forgotten, see below
        records = self._store.unfinished()
        known = {_job_id(job) for job in self._queue.unfinished()} if records else set()
        forgotten = [
            record
            for record in records
            if record.job_id not in known and (self._now() - record.created_at).total_seconds() >= forgotten_after_s
        ]
        for record in forgotten:
            _log.warning("backfill %s: its worker is gone, queued again", record.job_id)
            self._store.in_transaction(partial(self._defer, QUEUE, record))
        return len(stalled) + len(forgotten)

    def close(self) -> None:
        """Interrupt what runs in this process; its job goes back to the queue, its days stay."""
        self._is_closing.set()
        self._place.rest.close()

    def _record(
        self, request: BackfillRequest, *, queue: str, job_id: str, trace_id: str | None = None
    ) -> BackfillRecord:
        if not self._is_enabled:
            raise Conflict("backfill is disabled, FEATURE_SERVICE_BACKFILL_ENABLED enables it")
        check_request(request, most_days=self.most_days, now_ns=self.now_ns())
        check_category(request, self.category)
        listing = self._place.rest.listing(request.symbol)
        check_listed(request, listing.launched_ms, listing.ended_ms)
        if len(self._store.unfinished()) >= MOST_WAITING:
            raise StoreUnavailable(f"{MOST_WAITING} backfills are already queued")
        record = BackfillRecord(
            job_id=job_id,
            symbol=request.symbol,
            start_date=request.start.isoformat(),
            end_date=request.end.isoformat(),
            data_types=request.data_types,
            created_at=self._now(),
            trace_id=trace_id,
        )
        self._store.create(record, in_transaction=partial(self._defer, queue, record))
        _log.info("backfill %s of %s: %s", record.job_id, record.symbol, ", ".join(record.data_types))
        return record

    def _defer(self, queue: str, record: BackfillRecord, connection: Any) -> int:  # noqa: ANN401  # the driver's own
        arguments = {"job_id": record.job_id}
        return self._queue.defer(connection, TASK, queue=queue, lock=f"backfill {record.symbol}", arguments=arguments)

    def _run_queued(self, job_id: str) -> None:
        """A job: its record states how it ended, so only an interruption is raised."""
        try:
            self._run(job_id)
        except StoreUnavailable as error:
            # The record could not be told: the job must not be gone while it says that it is in progress.
            raise Interrupted(str(error)) from error
        except FeatureServiceError as error:
            _log.info("backfill %s: %s", job_id, error)

    def _run(self, job_id: str) -> None:
        known = self._store.get(job_id)
        record = self._store.change(job_id, status="in_progress", start_time=known.start_time or self._now())
        started = time.monotonic()
        ahead = [day for day in _dates(record) if day not in record.completed_dates]
        try:
            with closing(ArchivedAhead(self._place, record.symbol, ahead, record.data_types)) as archived:
                for date_round in (0, 1):
                    for day in _dates(record):
                        if day in record.completed_dates or (date_round == 1 and day not in record.failed_dates):
                            continue
                        record = self._day(self._store.change(job_id, current_date=day), day, archived)
        except _Cancelled:
            return
        failed = record.failed_dates
        reasons = (found["error"] for day in failed for found in record.details[day].values() if "error" in found)
        self._end(
            job_id,
            "failed" if failed else "completed",
            f"{failed[0]}: {next(reasons)}" if failed else None,
        )
        _log.info(
            "backfill %s of %s: %d days done, %d failed, in %.1f s",
            job_id,
            record.symbol,
            len(record.completed_dates),
            len(failed),
            time.monotonic() - started,
        )

    def _day(self, record: BackfillRecord, day: str, archived: ArchivedAhead) -> BackfillRecord:
        """Do a day and write down how it ended."""
        told: dict[str, Any] = {}
        for data_type in record.data_types:
            asked = SymbolDay(record.symbol, data_type, day)
            try:
                done = archived.of(asked)
                if done is None:
                    done = backfill_day(self._place, asked, on_piece=partial(self._check_wanted, record.job_id))
            except FeatureServiceError as error:
                _log.warning("backfill %s: %s: %s", record.job_id, asked, error)
                told[data_type] = {"error": str(error)}
            else:
                stored = f"{done.messages} messages stored" if done.is_stored else "nothing to store"
                _log.info("backfill %s: %s: %s", record.job_id, asked, stored)
                told[data_type] = day_document(done)
            self._check_wanted(record.job_id)
        is_done = not any("error" in found for found in told.values())
        others = tuple(each for each in record.failed_dates if each != day)
        return self._store.change(
            record.job_id,
            completed_dates=tuple(sorted({*record.completed_dates, day})) if is_done else record.completed_dates,
            failed_dates=others if is_done else tuple(sorted({*others, day})),
            details={**record.details, day: told},
        )

    def _check_wanted(self, job_id: str) -> None:
        if self._is_closing.is_set():
            raise Interrupted("backfill: its process is stopping")
        if self._store.get(job_id).status == "cancelled":
            raise _Cancelled

    def _sleep(self, seconds: float) -> None:
        """Wait, unless this process is stopping."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._is_closing.wait(min(left, _STEP_S)):
                raise Interrupted("backfill: its process is stopping")

    def _end(self, job_id: str, status: BackfillStatus, message: str | None) -> None:
        try:
            self._store.change(job_id, status=status, error_message=message, current_date=None, end_time=self._now())
        except Conflict as error:
            _log.info("%s", error)  # it was cancelled meanwhile

    def _now(self) -> datetime:
        return to_datetime(self.now_ns())


def _dates(record: BackfillRecord) -> list[str]:
    start, end = date.fromisoformat(record.start_date), date.fromisoformat(record.end_date)
    return BackfillRequest(record.symbol, start, end, record.data_types).dates


def dates_total(record: BackfillRecord) -> int:
    """How many days a job has."""
    return len(_dates(record))


def _job_id(job: QueuedJob) -> str:
    return str(job.arguments.get("job_id", ""))
