"""A dataset of months: built from raw klines alone, built again, built with one more day, and what memory it takes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, Final
from uuid import uuid4

import numpy as np

from benchmarks.kline_months import (
    BEGIN_NS,
    DAYS,
    FEW_DAYS,
    HORIZON_NS,
    MORE_DAYS,
    SYMBOL,
    VERSION,
    WHOLE_VERSION,
    folded_request,
    place_on,
    request_of,
    write_day,
)
from benchmarks.measure import Figure, in_child, peak_rss_mb, seconds
from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, SystemClock
from runtime.embedded import embedded_postgres
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.database.migration import upgrade
from storage.features.log import FeatureLogWriter
from training_sets.builds.bookkeeping import Bookkeeping
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.builds import DatasetBuilds
from training_sets.builds.notices import Announcer, InProcessNotices
from training_sets.builds.place import BuildPlace
from training_sets.dataset.datasets import Datasets
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.prices import MID
from transforms.rows import FeatureRows

CHECKED_DAYS: Final = 30
_REPEATS: Final = 5


def run(folder: Path) -> Iterator[Figure]:
    raw = folder / "dataset-raw"
    for day in range(DAYS + MORE_DAYS + 1):
        write_day(raw, day)
    yield from in_child(_times, folder / "dataset-times", raw)
    for version, is_folded in ((VERSION, False), (WHOLE_VERSION, True)):
        yield from in_child(_next_builds, folder / f"dataset-next-{version}", raw, version, is_folded=is_folded)
    yield from in_child(_leakage_check, folder / "dataset-checked", raw)
    few_mb, many_mb = (in_child(_memory, folder / f"dataset-{days}", raw, days) for days in (FEW_DAYS, DAYS))
    yield Figure(
        f"dataset: peak memory of {DAYS} days of 1 s rows",
        many_mb,
        "MB",
        "lower",
        yardstick=f"{FEW_DAYS} days",
        yardstick_value=few_mb,
        goal="ratio 1",
        details={"rows": DAYS * DAY_NS // SECOND_NS},
    )


def _times(folder: Path, raw: Path) -> list[Figure]:
    place = place_on(folder, raw)
    # Imports and kernels; its computed days lie in a folder of their own.
    build_dataset(request_of(days=2), place_on(folder / "first", raw), folder / "first" / "dataset")
    built: list[Dataset] = []
    # Not below the folder of the run: root's PostgreSQL needs a passage to its cluster.
    with TemporaryDirectory(prefix="fs-") as cluster, embedded_postgres(Path(cluster)) as url:
        upgrade(url)
        metadata = Metadata(url)
        try:
            builds = _builds(folder, place, metadata, url)

            begun_s: list[float] = []

            def build(*, days: int, horizon_ns: int = HORIZON_NS) -> float:
                begun_s.clear()
                request = request_of(days=days, horizon_ns=horizon_ns)
                return seconds(
                    lambda: built.append(builds.build(request, on_step=lambda _: begun_s.append(perf_counter())))
                )

            cold_s = build(days=DAYS)
            build(days=DAYS, horizon_ns=2 * HORIZON_NS)
            exist_s = begun_s[1] - begun_s[0]
            again_s = [build(days=DAYS) for _ in range(_REPEATS)]
        finally:
            metadata.close()
    details: dict[str, Any] = {
        "samples": built[0].manifest["rows_sampled"],
        "days_computed": [each.days_computed for each in (built[0], built[-1])],
        "stood_already": [each.is_reused for each in (built[0], built[-1])],
    }
    return [
        Figure(
            f"dataset: {DAYS} days of klines, all splits and checks, nothing computed before",
            cold_s,
            "s",
            "lower",
            goal="<= 30",
            required="300 to 900",
            details=details,
        ),
        Figure(
            f"dataset: {DAYS} days of klines, again",
            median(again_s),
            "s",
            "lower",
            yardstick="nothing computed before",
            yardstick_value=cold_s,
            goal="ratio <= 0.033",
        ),
        Figure("dataset: that the features of 60 days exist, nothing to compute", exist_s, "s", "lower", goal="<= 1"),
    ]


def _next_builds(folder: Path, raw: Path, version: str, *, is_folded: bool) -> list[Figure]:
    """What builds after the first take, in the time of this process's cores, which other work leaves alone.

    Each with another seed of its leakage check, so that it draws other rows.
    """
    seeds = itertools.count()
    place = dataclasses.replace(place_on(folder, raw), engine=None, draw_seed=lambda: next(seeds))
    asked_for = folded_request if is_folded else request_of
    # Imports and kernels.
    build_dataset(
        asked_for(days=FEW_DAYS, version=version), place_on(folder / "first", raw), folder / "first" / "dataset"
    )
    numbers = itertools.count()

    def build(*, days: int, horizon_ns: int = HORIZON_NS) -> float:
        request = asked_for(days=days, horizon_ns=horizon_ns, version=version)
        return _cpu_seconds(lambda: build_dataset(request, place, folder / f"built-{next(numbers)}"))

    cold_s = build(days=DAYS)
    horizon_s = median(build(days=DAYS, horizon_ns=number * HORIZON_NS) for number in range(2, 2 + MORE_DAYS))
    added_s = median(build(days=DAYS + number) for number in range(1, 1 + MORE_DAYS))
    what = f"{DAYS} days of klines, registry {version}, {'five folds' if is_folded else 'one fold'}"
    return [
        Figure(
            f"dataset: {what}, {name}, processor time",
            value_s,
            "s",
            "lower",
            yardstick="nothing computed before",
            yardstick_value=cold_s,
            goal=goal,
        )
        for name, value_s, goal in (
            ("another horizon", horizon_s, "ratio <= 0.1"),
            ("one more day", added_s, "ratio <= 0.033"),
        )
    ]


def _leakage_check(folder: Path, raw: Path) -> list[Figure]:
    """What the check takes of a build from klines alone with the whole catalogue, in the time of this process's cores.

    It is what a build takes that checks, of days that are there, over one that does not: nothing was proven before. Its
    memory is the most of the whole process, imports and kernel too.
    """
    place = dataclasses.replace(place_on(folder, raw), engine=None)
    request = request_of(days=CHECKED_DAYS, version=WHOLE_VERSION)
    unchecked = dataclasses.replace(request, check_leakage=False)
    place.kernel(load_registry_version(WHOLE_VERSION).feature_set).warm_up()
    # Imports, of what judges quality above all.
    build_dataset(request_of(days=1), place_on(folder / "first", raw), folder / "first" / "dataset")
    first_s = _cpu_seconds(lambda: build_dataset(unchecked, place, folder / "first-built"))
    without_s = _cpu_seconds(lambda: build_dataset(unchecked, place, folder / "without"))
    before_mb = peak_rss_mb()
    check_s = _cpu_seconds(lambda: build_dataset(request, place, folder / "with")) - without_s
    return [
        Figure(
            f"dataset: leakage check of {CHECKED_DAYS} days of klines, registry {WHOLE_VERSION}, nothing proven before",
            check_s,
            "s",
            "lower",
            yardstick="the first build with it",
            yardstick_value=first_s + check_s,
            goal="ratio <= 0.1",
        ),
        Figure(
            f"dataset: peak memory of a build of {CHECKED_DAYS} days of klines with its leakage check",
            peak_rss_mb(),
            "MB",
            "lower",
            yardstick="the same without",
            yardstick_value=before_mb,
            goal="<= 1000",
        ),
    ]


def _cpu_seconds(action: Callable[[], object]) -> float:
    begun = process_time()
    action()
    return process_time() - begun


def _builds(folder: Path, place: BuildPlace, metadata: Metadata, url: str) -> DatasetBuilds:
    clock = SystemClock()
    announcer = Announcer(metadata, InProcessNotices(), clock)
    books = Bookkeeping(metadata, JobQueue(url), announcer, clock, make_id=lambda: uuid4().hex)
    return DatasetBuilds(books, place, Datasets(folder / "datasets"))


def _memory(folder: Path, raw: Path, days: int) -> float:
    place = place_on(folder, raw)
    start_ns, end_ns = BEGIN_NS + HOUR_NS, BEGIN_NS + days * DAY_NS - HOUR_NS
    # Klines give a label every minute alone; a mid of every second gives one every second.
    with FeatureLogWriter(place.features.folder) as log:
        for day in range(days):
            row_ns = BEGIN_NS + day * DAY_NS + np.arange(DAY_NS // SECOND_NS) * SECOND_NS
            # A walk: a wave could be told from its past, which the leakage check would rightly not believe.
            mids = 95_000.0 + np.cumsum(np.random.default_rng(day).standard_normal(len(row_ns)))
            status = np.zeros((len(row_ns), 1), np.int8)
            log.append(FeatureRows(SYMBOL, MID, row_ns, mids[:, None], status), row_ns + MILLISECOND_NS)
            log.flush()
    request = DatasetRequest(
        (SYMBOL,),
        TimeBased(default_periods(start_ns, end_ns)),
        (RegressionTarget(5 * MINUTE_NS),),
        VERSION,
        label_price="mid_price",
    )
    build_dataset(request, place, folder / "dataset")
    return peak_rss_mb()
