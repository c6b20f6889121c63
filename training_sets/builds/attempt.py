"""One attempt at a dataset build: from a building record to a ready or failed one.

1. Beginning counts the attempt on the record; what an earlier one still does is refused from then on, so that a worker
   that was only thought dead cannot end what another has restarted.
2. The files are made in ``<datasets>/.<id>-<attempt>``; each step is the record's progress, and pieces as they pass.
3. The finished folder gets its name, in an object store once all of it is there; then the record says "ready" with the
   manifest's counts. A process that dies in between leaves a folder that the next attempt replaces.
4. A failure is the record's message; an interruption leaves it building, for the next attempt; a cancellation stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import Conflict, FeatureServiceError, NotFound, StoreUnavailable
from storage.database.connections import answering
from storage.database.dataset_records import BuildMeasured, DatasetRecord
from storage.database.job_worker import Interrupted
from training_sets.builds.bookkeeping import Bookkeeping
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.performance import BuildPerformance
from training_sets.builds.place import BuildPlace
from training_sets.dataset.datasets import Datasets, discard
from training_sets.dataset.manifest import write_performance
from training_sets.dataset.records import sample_count, splits_document, stored_request

STEPS: Final = 5
"""Of ``build_dataset``, each that begins a step of progress; one more where days must be fetched first."""
TOLD_EVERY_NS: Final = 100 * MILLISECOND_NS
"""How often progress is written to the record at most, and cancellation is checked."""
MOST_ATTEMPTS: Final = 5
"""How often a build is begun."""

_log = logging.getLogger(__name__)


class BuildRunner:
    """Runs attempts, each on its own; safe among threads.

    is_stopping: whether the process wants to end: what runs is interrupted at its next step or piece.
    """

    def __init__(
        self,
        books: Bookkeeping,
        place: BuildPlace,
        datasets: Datasets,
        *,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._books = books
        self._place = place
        self._datasets = datasets
        self._is_stopping = is_stopping

    def run(
        self,
        dataset_id: str,
        *,
        on_step: Callable[[str], None] = lambda _step: None,
        on_progress: Callable[[float], None] = lambda _share: None,
        is_tried_again: bool = False,
    ) -> Dataset:
        """Build the dataset of a record.

        is_tried_again: a build whose stores went down is restarted MOST_ATTEMPTS times, by its job.

        Raises Interrupted when the process is stopping or the job shall restart, Conflict or NotFound when the
        record is no longer building, and what the build raises, which the record then states.
        """
        record = self._books.metadata.begin_attempt(dataset_id, self._books.now())
        folder = self._datasets.begin(dataset_id, record.attempt)
        attempt = _Attempt(
            self._books,
            record,
            is_stopping=self._is_stopping,
            on_step=on_step,
            on_progress=on_progress,
        )
        try:
            with answering():
                dataset = self._build(attempt, folder)
        except Interrupted:
            discard(folder)
            raise
        except BaseException as error:
            discard(folder)
            if is_tried_again and _is_passing(error) and record.attempt < MOST_ATTEMPTS:
                _log.warning("dataset %s: %s; its job starts again", dataset_id, error)
                raise Interrupted(str(error)) from error
            # A cancelled one is no longer building, and stays cancelled.
            with suppress(Conflict, NotFound):
                attempt.settle(status="failed", error_message=_told(error))
            raise
        finally:
            self._announce()
        return dataset

    def _build(self, attempt: _Attempt, folder: Path) -> Dataset:
        request = stored_request(attempt.record)
        attempt.continue_or_raise()
        built = build_dataset(request, self._place, folder, on_step=attempt.begin_step, on_progress=attempt.progress)
        attempt.continue_or_raise()
        write_performance(folder, attempt.performance.document(built))
        # What comes now is seen: an attempt that another has taken over must not come before it.
        attempt.settle()
        path = self._datasets.finish(attempt.record.dataset_id, folder)
        try:
            attempt.settle(
                status="ready",
                progress=1.0,
                step=None,
                path=str(path),
                splits_info=splits_document(request)
                | {"splits": built.manifest["splits"], "folds": len(built.manifest["folds"])},
                train_records=built.records["train"],
                validation_records=built.records["validation"],
                test_records=built.records["test"],
            )
        except Conflict:
            discard(path)
            raise
        attempt.measure(built.days_computed, built.days_reused)
        return Dataset(path, built.manifest, built.records, built.days_computed, built.days_reused)

    def _announce(self) -> None:
        try:
            self._books.announcer.announce()
        except StoreUnavailable as error:
            # It stays due; whoever watches the builds tries again.
            _log.warning("dataset notices: %s", error)


class _Attempt:
    """Progress and outcome of an attempt, written to its dataset's record."""

    def __init__(
        self,
        books: Bookkeeping,
        record: DatasetRecord,
        *,
        is_stopping: Callable[[], bool],
        on_step: Callable[[str], None],
        on_progress: Callable[[float], None],
    ) -> None:
        self.record = record
        self._books = books
        self._clock = books.clock
        self.performance = BuildPerformance(books.clock.now_ns)
        self._is_stopping = is_stopping
        self._on_step = on_step
        self._on_progress = on_progress
        self._steps = 0
        self._told_ns = 0

    def begin_step(self, name: str) -> None:
        self.continue_or_raise()
        self._steps += 1
        self.performance.begin(name)
        self.settle(step=name, progress=min((self._steps - 1) / STEPS, 1.0))
        self._told_ns = self._clock.now_ns()
        self._on_step(name)

    def progress(self, share: float) -> None:
        self.continue_or_raise()
        self.performance.look()
        # Days that are there pass faster than the database takes to be told of each.
        if (now_ns := self._clock.now_ns()) - self._told_ns >= TOLD_EVERY_NS:
            self.settle(progress=min((self._steps - 1 + share) / STEPS, 1.0))
            self._told_ns = now_ns
        self._on_progress(share)

    def continue_or_raise(self) -> None:
        if self._is_stopping():
            raise Interrupted(f"dataset {self.record.dataset_id}: its worker is stopping")

    def settle(self, **changes: Any) -> None:  # noqa: ANN401  # columns of the record
        """Change the building record. Raises Conflict when it is no longer building, or not by this attempt."""
        self._books.metadata.update_dataset(
            self.record.dataset_id,
            self._books.now(),
            expected_status="building",
            expected_attempt=self.record.attempt,
            **changes,
        )

    def measure(self, days_computed: int, days_reused: int) -> None:
        """Keep how long it took; a dataset that is ready stays so when that cannot be written."""
        features_seconds = self.performance.features_seconds()
        measured = BuildMeasured(
            dataset_id=self.record.dataset_id,
            attempt=self.record.attempt,
            samples=sample_count(stored_request(self.record)),
            days_computed=days_computed,
            days_reused=days_reused,
            features_seconds=features_seconds,
            build_seconds=(self._clock.now_ns() - self.performance.begun_ns) / SECOND_NS - features_seconds,
        )
        try:
            self._books.metadata.add_build_measured(measured)
        except StoreUnavailable as error:
            _log.warning("dataset %s: its duration could not be stored: %s", self.record.dataset_id, error)


def _is_passing(error: BaseException) -> bool:
    """Whether it may go well another time: a server comes back, a disk that is full stays full."""
    return isinstance(error, StoreUnavailable) and not isinstance(error.__cause__, OSError)


def _told(error: BaseException) -> str:
    """What the record says of a failure; what is not ours to explain stays in the log."""
    if isinstance(error, FeatureServiceError):
        return str(error)
    return f"build: must run to its end, was stopped by {type(error).__name__}; see the service's log"
