"""Windows of the feature log: how many a second one core cuts, and that days take no more memory than one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Final

import numpy as np

from benchmarks.measure import Figure, in_child, peak_rss_mb, use_one_core
from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, MILLISECOND_NS, SECOND_NS, parse_iso_ns
from storage.features.log import FeatureLog, FeatureLogWriter
from training_sets.request.folds import Fold, Period
from training_sets.samples.sequences import FeatureWindows
from training_sets.samples.splits import SplitRules
from transforms.rows import FeatureRows

SYMBOL: Final = "BTCUSDT"
VERSION: Final = "2.0.0"
LENGTH: Final = 60
DAYS: Final = 4
HOURS: Final = 3
"""Of rows a day: a whole one takes minutes to write, and tells no more."""
BEGIN_NS: Final = parse_iso_ns("2026-01-01T00:00:00")


def run(folder: Path) -> Iterator[Figure]:
    log = folder / "sequences"
    _write(log)
    columns = len(load_registry_version(VERSION).feature_set.columns)
    rate, one_mb = in_child(_read, log, 1)
    _, many_mb = in_child(_read, log, DAYS)
    yield Figure(
        f"sequences: windows of {LENGTH} x {columns}, float32, from the feature log, one core",
        rate,
        "windows/s",
        "higher",
        goal=">= 20000",
    )
    yield Figure(
        f"sequences: peak memory of reading {DAYS} days of windows",
        many_mb,
        "MB",
        "lower",
        yardstick="one day",
        yardstick_value=one_mb,
        goal="ratio 1",
    )


def _read(folder: Path, days: int) -> tuple[float, float]:
    """Windows a second of the processor, and the most memory of the process."""
    use_one_core()
    period = Period("train", BEGIN_NS, BEGIN_NS + days * DAY_NS)
    chosen = load_registry_version(VERSION).feature_set
    windows = FeatureWindows(
        FeatureLog(folder), chosen, SYMBOL, Fold(None, (period,)), "train", SplitRules(SECOND_NS), LENGTH
    )
    count = 0

    def read() -> None:
        nonlocal count
        count = sum(len(batch.end_ns) for batch in windows.batches())

    read()  # imports, and files that the system has not read yet
    begun_s = process_time()
    read()
    taken_s = process_time() - begun_s
    assert count == days * (HOURS * 3600 - LENGTH + 1), count
    return count / taken_s, peak_rss_mb()


def _write(folder: Path) -> None:
    chosen = load_registry_version(VERSION).feature_set
    count = HOURS * 3600
    draw = np.random.default_rng(1)
    with FeatureLogWriter(folder) as log:
        for day in range(DAYS):
            row_ns = BEGIN_NS + day * DAY_NS + (np.arange(count) + 1) * SECOND_NS
            status = np.zeros((count, len(chosen.groups)), np.int8)
            values = draw.standard_normal((count, len(chosen.columns)))
            log.append(FeatureRows(SYMBOL, chosen, row_ns, values, status), row_ns + MILLISECOND_NS)
            log.flush()
