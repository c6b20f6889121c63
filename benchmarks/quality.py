"""Quality: the report on a busy symbol's day, in seconds of one core, against reading the same events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import process_time
from typing import Final

from benchmarks.days import write_day
from benchmarks.measure import REPEATS, Figure, in_child, peak_rss_mb, use_one_core
from benchmarks.tape import SYMBOL
from feature_repo.registry_versions import load_registry_version
from ingestion.tape.quality import symbol_quality
from market.clock import DAY_NS
from market.events import KIND_COUNT
from storage.features.log import FeatureLog
from storage.raw.events import stream_events
from storage.raw.raw_data import RawData

HOURS: Final = 24
VERSION: Final = "2.0.0"


def run(folder: Path) -> Iterator[Figure]:
    levels = write_day(folder / "raw", 0, HOURS).levels
    report_s, read_s, peak_mb = in_child(_measure, folder)
    yield Figure(
        "quality: report of a day of a busy symbol",
        report_s,
        "s",
        "lower",
        yardstick="reading the same events",
        yardstick_value=read_s,
        goal="<= 1",
        required="<= 5",
        details={"levels": levels, "peak_rss_mb": peak_mb},
    )


def _measure(folder: Path) -> tuple[float, float, float]:
    use_one_core()
    raw = folder / "raw"
    begin_ns, end_ns = RawData(raw).period(SYMBOL)
    served = load_registry_version(VERSION).feature_set

    def report() -> None:
        symbol_quality(
            RawData(raw), FeatureLog(folder / "features"), SYMBOL, served, from_ns=begin_ns, to_ns=end_ns + 1
        )

    def read() -> None:
        for _ in stream_events(
            RawData(raw), SYMBOL, kinds=range(KIND_COUNT), from_ns=begin_ns, to_ns=begin_ns + DAY_NS
        ):
            pass

    report()
    rounds = [(_processor_s(report), _processor_s(read)) for _ in range(REPEATS)]
    report_s, read_s = (median(times) for times in zip(*rounds, strict=True))
    return report_s, read_s, peak_rss_mb()


def _processor_s(action: Callable[[], object]) -> float:
    begun_s = process_time()
    action()
    return process_time() - begun_s
