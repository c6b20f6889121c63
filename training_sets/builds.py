"""A dataset build's life: checked, recorded as building, built, recorded as ready or failed.

1. What can be known at once is refused at once: an unknown version, no data in the train period, too many samples.
2. The folder ``<datasets>/<id>`` is claimed by a lock that ends with the process, then the record says "building".
3. One worker thread builds one dataset after the other; each step it begins is the record's progress.
4. The record ends as ready with the manifest's counts, or as failed with the reason and without the folder.
5. At the start, a record that says "building" while nobody holds its claim was interrupted, and fails.

Processes that share a metadata database share the datasets folder too.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from feature_repo.registry_versions import load_registry_version
from market.clock import Clock, format_iso, to_datetime
from market.errors import Conflict, FeatureServiceError, InvalidRequest, NotFound, StoreUnavailable
from storage.metadata import DatasetRecord, Metadata
from training_sets.availability import available_period, told_periods
from training_sets.builder import BuildPlace, Dataset, build_dataset
from training_sets.claims import is_claimed, release, take_claim
from training_sets.folds import covered, strategy_name
from training_sets.request import DatasetRequest
from transforms.catalogue import feature_set

MOST_WAITING: Final = 16
"""Builds that wait or run in one process."""
MOST_SAMPLES: Final = 80_000_000
"""Entity rows of one dataset: 90 days of ten symbols at 1 s. Their times and prices stay in memory, 16 bytes each."""
INTERRUPTED: Final = "interrupted"
_STEPS: Final = 4
"""Of ``build_dataset``; each that begins is a step of progress."""
_MOST_INTERRUPTED: Final = 100_000

_log = logging.getLogger(__name__)


class DatasetBuilds:
    """Starts and runs dataset builds; ``close`` it.

    open_place: called in the building thread, once, when the first build begins; Feast takes seconds to import.
    make_id: a new dataset id at each call.
    """

    def __init__(
        self,
        metadata: Metadata,
        *,
        open_place: Callable[[], BuildPlace],
        datasets_folder: Path,
        features_folder: Path,
        versions_folder: Path,
        clock: Clock,
        make_id: Callable[[], str],
    ) -> None:
        self._metadata = metadata
        self._open_place = open_place
        self._place: BuildPlace | None = None
        self._datasets_folder = datasets_folder.resolve()
        self._features_folder = features_folder
        self._versions_folder = versions_folder
        self._clock = clock
        self._make_id = make_id
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="dataset-build")
        self._is_closing = threading.Event()
        self._lock = threading.Lock()
        self._unfinished: dict[str, int] = {}
        self._ns_per_sample: float | None = None

    def start(self, request: DatasetRequest) -> DatasetRecord:
        """Record the build and let the worker thread do it.

        Raises InvalidRequest, saying what is possible, and StoreUnavailable when the database is away or too many
        builds wait.
        """
        record, claim = self._record(request)
        building = self._worker.submit(self._build, record, request, claim)
        building.add_done_callback(partial(self._finished, record.dataset_id, claim))
        return record

    def build(
        self,
        request: DatasetRequest,
        *,
        on_step: Callable[[str], None] = lambda _step: None,
        on_progress: Callable[[float], None] = lambda _share: None,
    ) -> Dataset:
        """Build now, in this thread; the dataset's id is the name of its folder.

        Raises as ``start``, and what the build raises.
        """
        record, claim = self._record(request)
        return self._build(record, request, claim, on_step=on_step, on_progress=on_progress)

    def estimated_completion_ns(self) -> int | None:
        """When all builds of this process will be done at the pace of its last one; None before there was one."""
        with self._lock:
            if self._ns_per_sample is None:
                return None
            return self._clock.now_ns() + int(self._ns_per_sample * sum(self._unfinished.values()))

    def cancel(self, dataset_id: str) -> DatasetRecord:
        """Mark a build as cancelled; it ends at its next piece and leaves no files.

        Raises NotFound, and Conflict when it is no longer building.
        """
        return self._settle(dataset_id, status="cancelled", error_message="cancelled")

    def delete(self, dataset_id: str) -> None:
        """Remove a dataset's record and files. Raises NotFound, and Conflict while it is being built."""
        record = self._metadata.get_dataset(dataset_id)
        folder = self._datasets_folder / dataset_id
        if record.status == "building" or is_claimed(folder):
            raise Conflict(f"dataset {dataset_id}: must not be building to be deleted, was {record.status}")
        self._metadata.delete_dataset(dataset_id)
        _remove(folder)

    def fail_interrupted(self) -> int:
        """Mark the builds of processes that are gone as failed; returns how many. Raises StoreUnavailable."""
        count = 0
        for record in self._metadata.list_datasets(status="building", limit=_MOST_INTERRUPTED):
            folder = self._datasets_folder / record.dataset_id
            if not is_claimed(folder):
                # It may have ended between the list and the look at its claim.
                with suppress(Conflict):
                    self._settle(record.dataset_id, status="failed", error_message=INTERRUPTED)
                    count += 1
                    _remove(folder)
        return count

    def close(self) -> None:
        """Stop after the running step: what has not ended fails as interrupted."""
        self._is_closing.set()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _record(self, request: DatasetRequest) -> tuple[DatasetRecord, int]:
        """The record of a new build and the descriptor of its claim."""
        if self._is_closing.is_set():
            raise StoreUnavailable("dataset builds: must be open, was closing")
        fingerprint = self._check(request)
        dataset_id = self._make_id()
        with self._lock:
            if len(self._unfinished) >= MOST_WAITING:
                raise StoreUnavailable(f"dataset builds: must be at most {MOST_WAITING} at a time, was that many")
            self._unfinished[dataset_id] = _sample_count(request)
        now = to_datetime(self._clock.now_ns())
        record = DatasetRecord(
            dataset_id=dataset_id,
            symbols=request.symbols,
            request=msgspec.to_builtins(request),
            feature_registry_version=request.registry_version,
            feature_set=fingerprint,
            splits_info=splits_document(request),
            created_at=now,
            updated_at=now,
        )
        claim = None
        try:
            claim = take_claim(self._datasets_folder / dataset_id)
            self._metadata.create_dataset(record)
        except FeatureServiceError:
            self._end(dataset_id, claim)
            _remove(self._datasets_folder / dataset_id)
            raise
        return record, claim

    def _build(
        self,
        record: DatasetRecord,
        request: DatasetRequest,
        claim: int,
        *,
        on_step: Callable[[str], None] = lambda _step: None,
        on_progress: Callable[[float], None] = lambda _share: None,
    ) -> Dataset:
        dataset_id = record.dataset_id
        folder = self._datasets_folder / dataset_id
        begun_ns = self._clock.now_ns()
        steps = 0

        def begin_step(name: str) -> None:
            nonlocal steps
            if self._is_closing.is_set():
                raise Conflict(INTERRUPTED)
            steps += 1
            self._settle(dataset_id, progress=min(steps / (_STEPS + 1), 1.0))
            on_step(name)

        def progress(share: float) -> None:
            if self._is_closing.is_set():
                raise Conflict(INTERRUPTED)
            self._settle(dataset_id, progress=min((steps + share) / (_STEPS + 1), 1.0))
            on_progress(share)

        try:
            if self._place is None:
                self._place = self._open_place()
            dataset = build_dataset(request, self._place, folder, on_step=begin_step, on_progress=progress)
            self._settle(
                dataset_id,
                status="ready",
                progress=1.0,
                path=str(folder),
                splits_info=splits_document(request)
                | {"splits": dataset.manifest["splits"], "folds": len(dataset.manifest["folds"])},
                train_records=dataset.records["train"],
                validation_records=dataset.records["validation"],
                test_records=dataset.records["test"],
            )
            with self._lock:
                self._ns_per_sample = (self._clock.now_ns() - begun_ns) / self._unfinished[dataset_id]
            return dataset
        except BaseException as error:
            # Whatever ended it, the record must not say "building" for ever.
            _remove(folder)
            # A cancelled one is no longer building, and stays cancelled.
            with suppress(Conflict, NotFound):
                self._settle(dataset_id, status="failed", error_message=_told(error))
            raise
        finally:
            self._end(dataset_id, claim)

    def _settle(self, dataset_id: str, **changes: Any) -> DatasetRecord:  # noqa: ANN401  # columns of the record
        """Change a building record. Raises Conflict when it is no longer building."""
        now = to_datetime(self._clock.now_ns())
        return self._metadata.update_dataset(dataset_id, now, expected_status="building", **changes)

    def _finished(self, dataset_id: str, claim: int, building: Future[Dataset]) -> None:
        if building.cancelled():
            try:
                self._settle(dataset_id, status="failed", error_message=INTERRUPTED)
                _remove(self._datasets_folder / dataset_id)
            finally:
                self._end(dataset_id, claim)
        elif (error := building.exception()) is not None:
            _log.error("dataset %s failed: %s", dataset_id, error, exc_info=error)

    def _end(self, dataset_id: str, claim: int | None) -> None:
        with self._lock:
            self._unfinished.pop(dataset_id, None)
        if claim is not None:
            release(self._datasets_folder / dataset_id, claim)

    def _check(self, request: DatasetRequest) -> str:
        """The fingerprint of the request's feature set, once everything that can be known at once is right."""
        try:
            chosen = load_registry_version(request.registry_version, self._versions_folder).feature_set
        except NotFound as error:
            raise InvalidRequest(str(error)) from error
        samples = _sample_count(request)
        if not 0 < samples <= MOST_SAMPLES:
            raise InvalidRequest(
                f"dataset: must have 1 to {MOST_SAMPLES} samples over its symbols and periods, was {samples}"
            )
        first = feature_set("available", chosen.columns[:1])
        available = {symbol: available_period(self._features_folder, symbol, first) for symbol in request.symbols}
        for fold in request.folds():
            trained = [period for period in fold.periods if period.name == "train"]
            begin_ns, end_ns = trained[0].start_ns, trained[-1].end_ns
            if any(known is None or begin_ns > known[1] or end_ns <= known[0] for known in available.values()):
                raise InvalidRequest(
                    f"{trained[0]}: must reach into the rows of every symbol; {told_periods(available)}"
                )
        return chosen.fingerprint


def splits_document(request: DatasetRequest) -> dict[str, Any]:
    """The splits as they are asked for, as JSON: how many folds, and the periods of the first."""
    folds = request.folds()
    return {
        "split_strategy": strategy_name(request.strategy),
        "folds": len(folds),
        "splits": [
            {"name": period.name, "start": format_iso(period.start_ns), "end": format_iso(period.end_ns)}
            for period in folds[0].periods
        ],
    }


def stored_request(record: DatasetRecord) -> DatasetRequest:
    """The request that a record was made from."""
    return msgspec.convert(record.request, DatasetRequest)


def _sample_count(request: DatasetRequest) -> int:
    """An upper bound of the entity rows."""
    step_ns = request.sample_interval_ns
    return len(request.symbols) * sum(
        -((start_ns - end_ns) // step_ns) for start_ns, end_ns in covered(request.folds())
    )


def _told(error: BaseException) -> str:
    """What the record says of a failure; what is not ours to explain stays in the log."""
    if isinstance(error, FeatureServiceError):
        return str(error)
    return f"build: must run to its end, was ended by {type(error).__name__}; the service's log has more"


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
