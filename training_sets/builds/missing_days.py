"""The days that a dataset needs and that are not stored: fetched before its features are built, if possible."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from market.clock import DAY_NS, floor_to, utc_date
from market.errors import FeatureServiceError, NotFound, StoreUnavailable
from market.events import KLINE, ORDERBOOK
from training_sets.builds.place import BuildPlace
from training_sets.request.folds import covered
from training_sets.request.request import DatasetRequest
from training_sets.samples.availability import stored_days
from transforms.catalogue import feature_set, set_horizon_ns, set_kinds
from transforms.rows import FeatureSet

MOST_DAYS_TOLD: Final = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LackingDays:
    """UTC dates of a symbol without data, in order: those of the periods, and those needed around them."""

    symbol: str
    needed: tuple[str, ...]
    around: tuple[str, ...]


def lacking_days(request: DatasetRequest, chosen: FeatureSet, place: BuildPlace) -> list[LackingDays]:
    """The symbols of which days of the periods are lacking altogether; a day that is held in part is no such day."""
    spans = covered(request.folds())
    own = touched_dates((start_ns, end_ns) for start_ns, end_ns in spans)
    horizon_ns = set_horizon_ns(chosen)
    seen = touched_dates((start_ns - horizon_ns, end_ns + request.latest_price_ns) for start_ns, end_ns in spans)
    first = feature_set("available", chosen.columns[:1])
    found = []
    for symbol in request.symbols:
        held = stored_days(place.features, place.raw.parquet, symbol, first)
        needed = tuple(day for day in own if day not in held)
        if needed:
            around = tuple(day for day in seen if day not in held and day not in needed)
            found.append(LackingDays(symbol, needed, around))
    return found


def fill_days(
    lacking: list[LackingDays], chosen: FeatureSet, place: BuildPlace, *, on_progress: Callable[[float], None]
) -> None:
    """Fetch them. Of the days around the periods what cannot be had stays unknown.

    Raises NotFound, or StoreUnavailable where a server is away, naming the days of the periods that could not be
    fetched, and what ``on_progress`` raises.
    """
    assert place.filler is not None, "nothing is lacking where nothing can be fetched"
    kinds = set_kinds(chosen)
    # Without order books the prices of labels are those of candles.
    kinds = kinds if ORDERBOOK in kinds else kinds | {KLINE}
    for at, each in enumerate(lacking):

        def tell(share: float, at: int = at) -> None:
            on_progress((at + share) / len(lacking))

        days = sorted({*each.needed, *each.around})
        failed = place.filler.fill(each.symbol, days, kinds, on_progress=tell)
        for day in each.around:
            if day in failed:
                _log.warning("%s: %s, which the dataset looks at, stays unknown: %s", each.symbol, day, failed[day])
        if reasons := {day: failed[day] for day in each.needed if day in failed}:
            raise _failure(each, reasons)


def told_days(days: Iterable[str]) -> str:
    """The first of some days, as text for an error."""
    dates = list(days)
    return ", ".join(dates[:MOST_DAYS_TOLD]) + (" and more" if len(dates) > MOST_DAYS_TOLD else "")


def _failure(lacking: LackingDays, reasons: dict[str, FeatureServiceError]) -> FeatureServiceError:
    is_away = any(isinstance(error, StoreUnavailable) for error in reasons.values())
    first = next(iter(reasons))
    text = (
        f"{lacking.symbol}: the days without data must be fetched first, {len(reasons)} of {len(lacking.needed)} "
        f"could not be: {told_days(reasons)}; {first}: {reasons[first]}; "
        "FEATURE_SERVICE_BACKFILL_AUTO=false fetches nothing and says what is stored"
    )
    return StoreUnavailable(text) if is_away else NotFound(text)


def touched_dates(spans: Iterable[tuple[int, int]]) -> list[str]:
    """The UTC dates that [start, end) spans touch, in order."""
    days = {day_ns for start_ns, end_ns in spans for day_ns in range(floor_to(start_ns, DAY_NS), end_ns, DAY_NS)}
    return [utc_date(day_ns) for day_ns in sorted(days)]
