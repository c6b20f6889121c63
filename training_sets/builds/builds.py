"""A dataset build's life: checked, recorded as building together with its job, then ready, failed or cancelled.

1. What can be known at once is refused at once. A request that is being built already is answered with that build, one
   whose finished dataset stands, made of the same inputs, with that dataset.
2. The record and its job come into being in one transaction. A worker claims the job; any number of processes may work.
3. ``cancel`` marks the record, which the build sees at its next step or piece.
4. A build asked for from here and now has a queue of its own, which its process works on and waits for.

Processes that share a metadata database share the datasets folder too.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from market.clock import SECOND_NS, format_iso
from market.errors import Conflict, FeatureServiceError, InvalidRequest, NotFound, StoreUnavailable
from storage.database.dataset_records import DatasetRecord
from storage.database.job_queue import HEARTBEAT_S
from storage.database.job_worker import Interrupted, JobWorker
from storage.retention.features import logged_symbols
from training_sets.builds.admission import check_request
from training_sets.builds.attempt import BuildRunner
from training_sets.builds.bookkeeping import Bookkeeping
from training_sets.builds.builder import Dataset
from training_sets.builds.feature_cache import WARM_TASK, FeatureCache
from training_sets.builds.place import BuildPlace
from training_sets.builds.standing import StandingDatasets
from training_sets.dataset.datasets import Datasets
from training_sets.dataset.manifest import read_manifest
from training_sets.dataset.records import request_hash, seconds_left, splits_document
from training_sets.request.request import DatasetRequest, request_document
from training_sets.samples.availability import stored_period, told_periods

MOST_WAITING: Final = 64
"""Builds that wait or run, over all processes."""
QUEUE: Final = "datasets"
BUILD_TASK: Final = "build_dataset"
_BUILDS_MEASURED: Final = 20
"""Of the last builds, for estimates."""
_LOOK_S: Final = 0.2

_log = logging.getLogger(__name__)


class DatasetBuilds:
    """Starts, follows, cancels and removes dataset builds; ``close`` it.

    place: where it says that days are used again, finished datasets are too. cache: the computed days that the builds
    share.
    """

    def __init__(
        self,
        books: Bookkeeping,
        place: BuildPlace,
        datasets: Datasets,
        *,
        parallel: int = 1,
    ) -> None:
        self._books = books
        self._metadata = books.metadata
        self._queue = books.queue
        self._place = place
        self._datasets = datasets
        self._parallel = parallel
        self._standing = StandingDatasets(books.metadata, place)
        self._is_closing = threading.Event()
        self._runner = BuildRunner(books, place, datasets, is_stopping=self._is_closing.is_set)
        self.cache = FeatureCache(
            books.metadata, books.queue, place, queue_name=QUEUE, is_stopping=self._is_closing.is_set
        )

    def start(self, request: DatasetRequest, *, trace_id: str | None = None) -> DatasetRecord:
        """Record the build and queue its job; the record of the same request's build, if one is on its way or stands.

        What stands is announced again: who waits for the notice of the request need not wait forever.

        Raises InvalidRequest, saying what is possible, and StoreUnavailable when the database is away or too many
        builds wait.
        """
        record, _ = self._record(request, trace_id=trace_id, is_own=False)
        if record.status == "ready":
            record = self._metadata.update_dataset(record.dataset_id, self._books.now(), announced_at=None)
        return record

    def build(
        self,
        request: DatasetRequest,
        *,
        on_step: Callable[[str], None] = lambda _step: None,
        on_progress: Callable[[float], None] = lambda _share: None,
    ) -> Dataset:
        """Build now and wait, or wait for the build of the same request, or give what it has made.

        The id is the name of its folder. An interrupt cancels it. Raises as ``start``, and what the build raises.
        """
        record, is_new = self._record(request, trace_id=None, is_own=True)
        if not is_new:
            return self._followed(record.dataset_id, on_step, on_progress)
        ended: list[Dataset | BaseException] = []

        def run(dataset_id: str) -> None:
            try:
                ended.append(self._runner.run(dataset_id, on_step=on_step, on_progress=on_progress))
            except BaseException as error:  # noqa: BLE001  # handed to the caller, who raises it
                ended.append(error)

        worker = self._queue.worker({BUILD_TASK: run}, queues=[_own_queue(record.dataset_id)])
        worker.run_aside_until_empty(
            name="dataset-build",
            look=lambda: None,
            look_s=_LOOK_S,
            on_interrupt=partial(self._give_up, record.dataset_id),
        )
        if not ended:
            raise Conflict(f"dataset {record.dataset_id}: must be built by this process, was taken by another")
        if isinstance(ended[0], BaseException):
            raise ended[0]
        return ended[0]

    def worker(self, *, heartbeat_s: float = HEARTBEAT_S) -> JobWorker:
        """A worker for the queued builds and for warming the cache, so many at a time as was said."""
        tasks: dict[str, Callable[..., None]] = {BUILD_TASK: self._run_queued, WARM_TASK: self.cache.run_warming}
        return self._queue.worker(tasks, queues=[QUEUE], parallel=self._parallel, heartbeat_s=heartbeat_s)

    def estimated_completion_ns(self, dataset_id: str) -> int:
        """When a build will be done at the pace of the last ones, those before it first; now for one that has ended."""
        own = self._metadata.get_dataset(dataset_id)
        if own.status != "building":
            return self._books.clock.now_ns()
        left_s = seconds_left(
            own,
            self._metadata.list_datasets(status="building", limit=MOST_WAITING),
            self._metadata.list_builds_measured(limit=_BUILDS_MEASURED),
            parallel=self._parallel,
        )
        return self._books.clock.now_ns() + int(left_s * SECOND_NS)

    def symbols_within(self, from_ns: int, to_ns: int) -> tuple[str, ...]:
        """The symbols that have rows, or raw data to make them of, in [from_ns, to_ns). Raises InvalidRequest."""
        log, raw = self._place.features, self._place.raw.parquet
        known = {symbol: stored_period(log, raw, symbol) for symbol in sorted({*logged_symbols(log), *raw.symbols()})}
        found = [symbol for symbol, period in known.items() if period and period[0] < to_ns and period[1] >= from_ns]
        if not found:
            raise InvalidRequest(
                f"symbols: must be one with rows from {format_iso(from_ns)} to {format_iso(to_ns)}, was none; "
                f"{told_periods(known) or 'no symbol has rows'}"
            )
        return tuple(found)

    def cancel(self, dataset_id: str) -> DatasetRecord:
        """Mark a build as cancelled; it ends at its next step or piece and leaves no files.

        Raises NotFound, and Conflict when it is no longer building.
        """
        return self._metadata.update_dataset(
            dataset_id, self._books.now(), expected_status="building", status="cancelled", error_message="cancelled"
        )

    def delete(self, dataset_id: str) -> None:
        """Remove a dataset's record and files. Raises NotFound, and Conflict while it is being built."""
        record = self._metadata.get_dataset(dataset_id)
        if record.status == "building":
            raise Conflict(f"dataset {dataset_id}: must not be building to be deleted, was {record.status}")
        self._metadata.delete_dataset(dataset_id)
        self._datasets.remove(dataset_id)

    def close(self) -> None:
        """Interrupt what runs in this process at its next step or piece; its job goes back to the queue."""
        self._is_closing.set()

    def _record(self, request: DatasetRequest, *, trace_id: str | None, is_own: bool) -> tuple[DatasetRecord, bool]:
        """The record of the request's build, and whether it is new; is_own: its job has a queue of its own."""
        if self._is_closing.is_set():
            raise StoreUnavailable("dataset builds: must be open, was closing")
        features = check_request(request, self._place, now_ns=self._books.clock.now_ns())
        asked = request_hash(request, features.chosen.fingerprint)
        if (known := self._metadata.find_building(asked)) is not None:
            return known, False
        if self._place.reuses_days and (known := self._standing.find(request, features, asked)) is not None:
            return known, False
        if len(self._metadata.list_datasets(status="building", limit=MOST_WAITING)) >= MOST_WAITING:
            raise StoreUnavailable(f"{MOST_WAITING} builds are queued already")
        now = self._books.now()
        record = DatasetRecord(
            dataset_id=self._books.make_id(),
            symbols=request.symbols,
            request=request_document(request),
            feature_registry_version=request.registry_version,
            feature_set=features.chosen.fingerprint,
            splits_info=splits_document(request),
            created_at=now,
            updated_at=now,
            request_hash=asked,
            trace_id=trace_id,
        )
        defer = partial(
            self._queue.defer,
            task=BUILD_TASK,
            queue=_own_queue(record.dataset_id) if is_own else QUEUE,
            lock=record.dataset_id,
            arguments={"dataset_id": record.dataset_id},
        )
        try:
            self._metadata.create_dataset(record, in_transaction=defer)
        except Conflict:
            # Somebody asked for the same in this moment.
            if (known := self._metadata.find_building(asked)) is not None:
                return known, False
            raise
        return record, True

    def _run_queued(self, dataset_id: str) -> None:
        """A job: its record tells how it ended, so only an interruption is raised."""
        try:
            self._runner.run(dataset_id, is_tried_again=True)
        except StoreUnavailable as error:
            if self._metadata_says_ended(dataset_id):
                _log.warning("dataset %s failed: %s", dataset_id, error)
                return
            # The record could not be told: the job must not be gone while it says that it is building.
            raise Interrupted(str(error)) from error
        except (Conflict, NotFound) as error:
            _log.info("dataset %s: %s", dataset_id, error)
        except FeatureServiceError as error:
            _log.warning("dataset %s failed: %s", dataset_id, error)

    def _metadata_says_ended(self, dataset_id: str) -> bool:
        with suppress(StoreUnavailable, NotFound):
            return self._metadata.get_dataset(dataset_id).status != "building"
        return False

    def _give_up(self, dataset_id: str) -> None:
        with suppress(Conflict, NotFound):
            self.cancel(dataset_id)

    def _followed(
        self, dataset_id: str, on_step: Callable[[str], None], on_progress: Callable[[float], None]
    ) -> Dataset:
        """Wait for another's build of the same request, unless it has ended; its progress is told as one step."""
        is_ready = self._metadata.get_dataset(dataset_id).status == "ready"
        on_step(f"{'taking' if is_ready else 'waiting for'} dataset {dataset_id}, the same request")
        while (record := self._metadata.get_dataset(dataset_id)).status == "building":
            on_progress(record.progress)
            if self._is_closing.wait(_LOOK_S):
                raise StoreUnavailable("dataset builds: must be open, was closing")
        if record.status != "ready":
            raise Conflict(f"dataset {dataset_id}: must become ready, was {record.status}: {record.error_message}")
        folder = self._datasets.path(dataset_id)
        counts = (record.train_records or 0, record.validation_records or 0, record.test_records or 0)
        records = dict(zip(("train", "validation", "test"), counts, strict=True))
        return Dataset(folder, read_manifest(folder), records, is_reused=is_ready)


def _own_queue(dataset_id: str) -> str:
    # PostgreSQL lets the channel that a queue is told of have 63 bytes, 23 of them procrastinate's.
    return f"own-{dataset_id}"
