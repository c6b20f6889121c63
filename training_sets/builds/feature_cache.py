"""The feature cache: the rebuilt days of the feature log, counted, thrown away and made beforehand.

Nothing here decides whether a day may be used again: a day's file is named by its code and its raw data, so that after
a change of either it is not found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

from market.clock import format_iso, utc_date
from market.errors import Conflict, InvalidRequest, NotFound
from storage.database.job_queue import JobQueue
from storage.database.job_worker import Interrupted
from storage.database.metadata import Metadata
from storage.features.rebuilt_days import cached_days, remove_rebuilt_days
from training_sets.builds.place import BuildPlace
from training_sets.rebuild.days import WORTH_ENGINE, DayRange, rebuild_days
from training_sets.rebuild.due_days import Rebuild
from training_sets.samples.sampled_days import remove_sampled_days

WARM_TASK: Final = "warm_features"
MOST_WARMING: Final = 16
LEAST_HIT_RATE: Final = 0.5
"""Of several builds: below, most days are recomputed, and something discards or replaces their inputs."""
_BUILDS_COUNTED: Final = 1000
_MOST_BUILDING: Final = 1000


class FeatureCache:
    """The computed days of the feature log. queue_name: where the jobs that warm it wait."""

    def __init__(
        self,
        metadata: Metadata,
        queue: JobQueue,
        place: BuildPlace,
        *,
        queue_name: str,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._metadata = metadata
        self._queue = queue
        self._queue_name = queue_name
        self._place = place
        self._is_stopping = is_stopping
        self._thrown_away = 0

    def statistics(self) -> dict[str, Any]:
        """What there is by symbol, what the last builds found of it, what is being warmed.

        eviction_count: files thrown away through this object. warnings: of a hit rate below LEAST_HIT_RATE. Raises
        StoreUnavailable.
        """
        found = cached_days(self._place.features)
        builds = self._metadata.list_builds_measured(limit=_BUILDS_COUNTED)
        computed, reused = sum(each.days_computed for each in builds), sum(each.days_reused for each in builds)
        files, size = sum(each.files for each in found), sum(each.size for each in found)
        hit_rate = reused / (computed + reused) if computed + reused else None
        is_low = hit_rate is not None and hit_rate < LEAST_HIT_RATE and len(builds) > 1
        return {
            "is_enabled": self._place.reuses_days,
            "files": files,
            "bytes": size,
            "current_entries_count": files,
            "current_size_bytes": size,
            "hit_count": reused,
            "miss_count": computed,
            "eviction_count": self._thrown_away,
            "warnings": [f"cache: hit rate must be {LEAST_HIT_RATE:g} or more, was {hit_rate:.2f}"] if is_low else [],
            "symbols": [
                {
                    "symbol": each.symbol,
                    "days": len(each.dates),
                    "first_day": each.dates[0],
                    "last_day": each.dates[-1],
                    "files": each.files,
                    "bytes": each.size,
                }
                for each in found
            ],
            "builds": len(builds),
            "days_computed": computed,
            "days_reused": reused,
            "hit_rate": hit_rate,
            "warming": [
                {"job_id": job.job_id, "status": "running" if job.is_running else "pending", **job.arguments}
                for job in self._queue.unfinished()
                if job.task == WARM_TASK
            ],
        }

    def invalidate(self, *, symbol: str | None, from_ns: int | None, to_ns: int | None) -> int:
        """Throw computed days away, from one to the other, both included; their files. None is no bound.

        What was sampled from them goes too.

        Raises Conflict while a dataset of the symbol is built, StoreUnavailable.
        """
        building = self._metadata.list_datasets(status="building", symbol=symbol, limit=_MOST_BUILDING)
        if building:
            raise Conflict(
                f"feature cache: must not be in use to be invalidated, was used by dataset {building[0].dataset_id}"
            )
        first_date = None if from_ns is None else utc_date(from_ns)
        last_date = None if to_ns is None else utc_date(to_ns)
        features = self._place.features
        remove_sampled_days(features, symbol=symbol, first_date=first_date, last_date=last_date)
        removed = remove_rebuilt_days(features, symbol=symbol, first_date=first_date, last_date=last_date)
        self._thrown_away += removed
        return removed

    def symbols_like(self, pattern: str) -> list[str]:
        """The symbols with computed days whose name fits a shell pattern."""
        return [each.symbol for each in cached_days(self._place.features) if fnmatchcase(each.symbol, pattern)]

    def warm(self, symbol: str, version: str, *, from_ns: int, to_ns: int) -> int:
        """Queue the computation of a symbol's missing days; the job's id.

        Raises InvalidRequest with the period there is, Conflict when too much is being warmed, StoreUnavailable.
        """
        try:
            self._rebuild(symbol, version)
            first_ns, last_ns = self._place.raw.parquet.period(symbol)
        except NotFound as error:
            raise InvalidRequest(str(error)) from error
        if from_ns > to_ns or to_ns < first_ns or from_ns > last_ns:
            raise InvalidRequest(
                f"{symbol}: must be warmed within its raw data, {format_iso(first_ns)} to {format_iso(last_ns)}, "
                f"was {format_iso(from_ns)} to {format_iso(to_ns)}"
            )
        if sum(job.task == WARM_TASK for job in self._queue.unfinished()) >= MOST_WARMING:
            raise Conflict(f"{MOST_WARMING} warming jobs are already queued")
        arguments = {"symbol": symbol, "feature_registry_version": version, "from_ns": from_ns, "to_ns": to_ns}
        return self._metadata.in_transaction(
            partial(
                self._queue.defer, task=WARM_TASK, queue=self._queue_name, lock=f"warm-{symbol}", arguments=arguments
            )
        )

    def run_warming(self, symbol: str, feature_registry_version: str, from_ns: int, to_ns: int) -> None:
        """The job: rebuild what is missing. Raises Interrupted when the process is stopping."""
        wanted = DayRange(self._rebuild(symbol, feature_registry_version), from_ns, to_ns)
        for _ in rebuild_days([wanted], engine=self._place.engine, worth_engine=WORTH_ENGINE):
            if self._is_stopping():
                raise Interrupted

    def _rebuild(self, symbol: str, version: str) -> Rebuild:
        return replace(self._place.rebuild(symbol, self._place.feature_set(version)), reuses_days=True)
