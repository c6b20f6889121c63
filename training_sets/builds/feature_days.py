"""Feature days: a dataset's features exist before they are retrieved, each symbol-day computed once for its inputs.

A day that was served whole, or rebuilt from the raw files that are there now by the code that is there now, is used as
it is; any other is rebuilt from raw Parquet. A day without raw data is what the feature log has of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from market.clock import SECOND_NS, floor_to
from market.errors import NotFound
from storage.raw.raw_data import RawData
from storage.raw.tables import SNAPSHOT_TABLE
from training_sets.builds.place import BuildPlace
from training_sets.rebuild.days import WORTH_ENGINE, DayRange, count_days, rebuild_days
from training_sets.request.folds import covered
from training_sets.request.request import DatasetRequest
from training_sets.samples.prices import MID
from transforms.rows import FeatureSet


@dataclass(frozen=True, slots=True)
class FeatureDays:
    """Symbol-days of a dataset: how many were computed for it, and how many were there."""

    computed: int
    reused: int


def make_features(
    request: DatasetRequest, chosen: FeatureSet, place: BuildPlace, *, on_progress: Callable[[float], None]
) -> FeatureDays:
    """Rebuild the missing symbol-days of a request into the feature log; what ``on_progress`` raises ends it."""
    ranges = [
        DayRange(place.rebuild(symbol, wanted), from_ns, to_ns)
        for symbol in (request.symbols if request.sessions is None else ())
        for wanted in _wanted(request, chosen, place.raw.parquet, symbol)
        for from_ns, to_ns in _periods(request, place.raw.parquet, symbol)
    ]
    total = sum(map(count_days, ranges))
    computed: set[tuple[str, str]] = set()
    seen: set[tuple[str, str]] = set()
    days = rebuild_days(ranges, engine=place.engine, worth_engine=WORTH_ENGINE)
    for done, day in enumerate(days, start=1):
        seen.add((day.symbol, day.date))
        if day.rows > 0:
            computed.add((day.symbol, day.date))
        on_progress(min(done / total, 1.0))
    return FeatureDays(len(computed), len(seen - computed))


def _wanted(request: DatasetRequest, chosen: FeatureSet, raw: RawData, symbol: str) -> list[FeatureSet]:
    """What is to be there: the features, but at ticks, and the mid price where labels may be made of it."""
    features = [chosen] if request.sample_kind == "on_row" else []
    if request.label_price == "kline_close" or (features and set(MID.columns) <= set(chosen.columns)):
        return features
    has_book = any(file.table == SNAPSHOT_TABLE for part in raw.parts(symbol) for file in part.files)
    return [*features, MID] if has_book else features


def _periods(request: DatasetRequest, raw: RawData, symbol: str) -> list[tuple[int, int]]:
    """What the samples and labels of a symbol look at, as far as there is raw data; [first, last] row times."""
    try:
        first_ns, last_ns = raw.period(symbol)
    except NotFound:
        return []
    reaching = (
        (max(start_ns - request.back_ns, first_ns), min(end_ns + request.latest_price_ns, floor_to(last_ns, SECOND_NS)))
        for start_ns, end_ns in covered(request.folds())
    )
    return [(from_ns, to_ns) for from_ns, to_ns in reaching if from_ns <= to_ns]
