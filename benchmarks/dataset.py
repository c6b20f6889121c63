"""A dataset of months: built from raw klines alone, built again, built with one more day, and what memory it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, Final
from uuid import uuid4

import numpy as np

from benchmarks.measure import KERNEL_CACHE, Figure, in_child, peak_rss_mb, seconds
from feature_repo.apply import apply_definitions
from feature_repo.definitions import definitions
from feature_repo.registry_versions import SHIPPED_FOLDER, load_registry_version
from feature_repo.store import open_store
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, SystemClock, parse_iso_ns
from market.events import CONFIRMED, FIRST, KLINE, KLINE_FIELD_COUNT, LAST, empty_events
from market.instruments import Instrument, pin_scale
from runtime.embedded import embedded_postgres
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.database.schema import upgrade
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from training_sets.builds.bookkeeping import Bookkeeping
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.builds import DatasetBuilds
from training_sets.builds.notices import Announcer, InProcessNotices
from training_sets.builds.place import BuildPlace
from training_sets.dataset.datasets import Datasets
from training_sets.rebuild.raw_history import RawHistory
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import (
    ClassificationTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    TripleBarrierTarget,
)
from training_sets.samples.prices import MID
from transforms.rows import FeatureRows

SYMBOL: Final = "BTCUSDT"
VERSION: Final = "1.2.0"
"""The registry version whose features all come from klines."""
DAYS: Final = 60
FEW_DAYS: Final = 10
CHECKED_DAYS: Final = 30
WHOLE_VERSION: Final = "2.0.0"
HORIZON_NS: Final = 5 * MINUTE_NS
BEGIN_NS: Final = parse_iso_ns("2026-01-01T00:00:00")
_INSTRUMENT: Final[Instrument] = pin_scale(SYMBOL, "95000.0")
_SEED: Final = 11
_REPEATS: Final = 5
_DAY_MINUTES: Final = DAY_NS // MINUTE_NS


def run(folder: Path) -> Iterator[Figure]:
    raw = folder / "dataset-raw"
    for day in range(DAYS + 2):
        _write_day(raw, day)
    yield from in_child(_times, folder / "dataset-times", raw)
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
    place = _place(folder, raw)
    # Imports and kernels; its computed days lie in a folder of their own.
    build_dataset(_request(days=2), _place(folder / "first", raw), folder / "first" / "dataset")
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
                request = _request(days=days, horizon_ns=horizon_ns)
                return seconds(
                    lambda: built.append(builds.build(request, on_step=lambda _: begun_s.append(perf_counter())))
                )

            cold_s = build(days=DAYS)
            horizon_s = build(days=DAYS, horizon_ns=2 * HORIZON_NS)
            exist_s = begun_s[1] - begun_s[0]
            again_s = [build(days=DAYS) for _ in range(_REPEATS)]
            added_s = build(days=DAYS + 1)
        finally:
            metadata.close()
    details: dict[str, Any] = {
        "samples": built[0].manifest["rows_sampled"],
        "days_computed": [each.days_computed for each in (built[0], built[2], built[-1])],
        "stood_already": [each.is_reused for each in (built[0], built[2], built[-1])],
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
        _against_cold("again", median(again_s), cold_s),
        _against_cold("with another horizon", horizon_s, cold_s, goal="ratio <= 0.1"),
        Figure("dataset: that the features of 60 days exist, nothing to compute", exist_s, "s", "lower", goal="<= 1"),
        _against_cold("with one more day", added_s, cold_s),
    ]


def _leakage_check(folder: Path, raw: Path) -> list[Figure]:
    """What the check takes of a build from klines alone with the whole catalogue, in the time of this process's cores.

    It is what a build takes that checks, of days that are there, over one that does not: nothing was proven before. Its
    memory is the most of the whole process, imports and kernel too.
    """
    place = dataclasses.replace(_place(folder, raw), rebuild_workers=1)
    request = _request(days=CHECKED_DAYS, version=WHOLE_VERSION)
    unchecked = dataclasses.replace(request, check_leakage=False)
    place.kernel(load_registry_version(WHOLE_VERSION).feature_set).warm_up()
    # Imports, of what judges quality above all.
    build_dataset(_request(days=1), _place(folder / "first", raw), folder / "first" / "dataset")
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


def _against_cold(name: str, value_s: float, cold_s: float, *, goal: str = "ratio <= 0.033") -> Figure:
    return Figure(
        f"dataset: {DAYS} days of klines, {name}",
        value_s,
        "s",
        "lower",
        yardstick="nothing computed before",
        yardstick_value=cold_s,
        goal=goal,
    )


def _memory(folder: Path, raw: Path, days: int) -> float:
    place = _place(folder, raw)
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


def _request(*, days: int, horizon_ns: int = HORIZON_NS, version: str = VERSION) -> DatasetRequest:
    start_ns = BEGIN_NS + HOUR_NS
    return DatasetRequest(
        (SYMBOL,),
        TimeBased(default_periods(start_ns, start_ns + days * DAY_NS)),
        (
            RegressionTarget(horizon_ns, name="change"),
            ClassificationTarget(horizon_ns, name="side"),
            RiskAdjustedTarget(horizon_ns, name="sharpe", volatility_window_ns=HOUR_NS),
            TripleBarrierTarget(horizon_ns, name="barrier", upper=0.002, lower=0.002),
        ),
        version,
        sample_interval_ns=MINUTE_NS,
    )


def _place(folder: Path, raw: Path) -> BuildPlace:
    folder.mkdir(parents=True)
    features = folder / "features"
    store = open_store(
        registry=folder / "registry.db", online_store={"type": "redis", "connection_string": "localhost:1"}
    )
    apply_definitions(store, definitions(features_folder=features))
    return BuildPlace(
        open_store=lambda: store,
        features=FeatureLog(features),
        raw=RawHistory.of(RawData(raw)),
        versions_folder=SHIPPED_FOLDER,
        kernels_folder=KERNEL_CACHE,
        rebuild_workers=2,
    )


def _write_day(raw: Path, day: int) -> None:
    """A day of one-minute klines of a random walk, each a second after its end; all days are one walk."""
    generator = np.random.default_rng(_SEED)
    steps = generator.standard_normal((DAYS + 2) * _DAY_MINUTES) * 4e-4
    closes = 95_000.0 * np.exp(np.cumsum(steps))
    chosen = slice(day * _DAY_MINUTES, (day + 1) * _DAY_MINUTES)
    scale = 10**_INSTRUMENT.price_exponent
    close = np.round(closes[chosen] * 10).astype(np.int64) * (scale // 10)
    opened = np.round(np.concatenate([[95_000.0], closes])[chosen] * 10).astype(np.int64) * (scale // 10)
    volume = (1 + generator.integers(0, 100, _DAY_MINUTES)) * 10**_INSTRUMENT.quantity_exponent
    records = empty_events(_DAY_MINUTES * KLINE_FIELD_COUNT)
    rows = records.reshape(_DAY_MINUTES, KLINE_FIELD_COUNT)
    begins_ns = BEGIN_NS + day * DAY_NS + np.arange(_DAY_MINUTES) * MINUTE_NS
    rows["kind"] = KLINE
    rows["field"] = range(KLINE_FIELD_COUNT)
    rows["update_id"] = begins_ns[:, None]
    rows["event_ns"] = begins_ns[:, None] + MINUTE_NS
    rows["recv_ns"] = begins_ns[:, None] + MINUTE_NS + SECOND_NS
    rows["seq"] = (1 + day * _DAY_MINUTES + np.arange(_DAY_MINUTES))[:, None]
    rows["flags"] = CONFIRMED
    rows["flags"][:, 0] |= FIRST
    rows["flags"][:, -1] |= LAST
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    # Turnover is not read by any feature; whole units of volume keep it inside int64.
    columns = (opened, high, low, close, volume, close // scale * (volume // 10**_INSTRUMENT.quantity_exponent))
    rows["px"] = np.stack(columns, axis=1)
    write_events(raw, _INSTRUMENT, records, part=f"{day:04d}")
