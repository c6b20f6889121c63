"""Admission: what can be known of a request at once is refused at once, with what would be possible."""

from __future__ import annotations

from typing import Final

from market.clock import format_iso
from market.errors import InvalidRequest, NotFound
from training_sets.builds.missing_days import lacking_days, told_days, touched_dates
from training_sets.builds.place import BuildPlace
from training_sets.builds.tables import needed_mappings
from training_sets.dataset.records import sample_count
from training_sets.request.folds import covered
from training_sets.request.request import DatasetRequest
from training_sets.request.weighting import MOST_WEIGHED
from training_sets.samples.availability import stored_days, stored_period, told_periods
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.inputs import check_sources
from transforms.catalogue import feature_set
from transforms.rows import FeatureSet

MOST_SAMPLES: Final = 80_000_000
"""Entity rows of one dataset: 90 days of ten symbols at 1 s."""


def check_request(request: DatasetRequest, place: BuildPlace, *, now_ns: int) -> DatasetFeatures:
    """The request's features, once everything that can be known at once is right.

    Raises InvalidRequest: an unknown version or feature, too many samples, a period that has not begun, a train period
    without rows, a day without data.
    """
    try:
        chosen = place.feature_set(request.registry_version)
    except NotFound as error:
        raise InvalidRequest(str(error)) from error
    features = DatasetFeatures.of(request, chosen, place.open_store)
    check_sources(request, chosen)
    samples = sample_count(request)
    if not 0 < samples <= MOST_SAMPLES:
        raise InvalidRequest(
            f"dataset: must have 1 to {MOST_SAMPLES} samples over its symbols and periods, was {samples}"
        )
    if request.weighting is not None and samples > MOST_WEIGHED:
        raise InvalidRequest(f"sample_weight: must be of {MOST_WEIGHED} samples or fewer, was {samples}")
    for period in (period for fold in request.folds() for period in fold.periods):
        if period.start_ns >= now_ns:
            raise InvalidRequest(f"{period.name} period: must have begun by now, {format_iso(now_ns)}, was {period}")
    if request.sessions is not None:
        needed_mappings(request, features, place)
        return features
    first = feature_set("available", chosen.columns[:1])
    log, raw = place.features, place.raw.parquet
    fetched = _fetched_first(request, chosen, place)
    symbols = [symbol for symbol in request.symbols if symbol not in fetched]
    available = {symbol: stored_period(log, raw, symbol, first) for symbol in symbols}
    for fold in request.folds():
        trained = [period for period in fold.periods if period.name == "train"]
        begin_ns, end_ns = trained[0].start_ns, trained[-1].end_ns
        if any(known is None or begin_ns > known[1] or end_ns <= known[0] for known in available.values()):
            raise InvalidRequest(f"{trained[0]}: must reach into the rows of every symbol; {told_periods(available)}")
    for symbol, known in available.items():
        assert known is not None, "no symbol without rows passes the train period"
        days = stored_days(log, raw, symbol, first)
        if missing := [day for day in _days_within(request, known) if day not in days]:
            raise InvalidRequest(
                f"{symbol}: must have data for every day of the periods, {len(missing)} without data: "
                f"{told_days(missing)}; {told_periods({symbol: known})}"
            )
    return features


def _fetched_first(request: DatasetRequest, chosen: FeatureSet, place: BuildPlace) -> set[str]:
    """The symbols whose missing days the build fetches. Raises InvalidRequest where that is not possible."""
    if place.filler is None:
        return set()
    lacking = lacking_days(request, chosen, place)
    for each in lacking:
        if (reason := place.filler.refusal(each.needed)) is not None:
            known = stored_period(place.features, place.raw.parquet, each.symbol)
            raise InvalidRequest(
                f"{each.symbol}: must have data for every day of the periods, {len(each.needed)} without data: "
                f"{told_days(each.needed)}, which cannot be fetched: {reason}; {told_periods({each.symbol: known})}"
            )
    return {each.symbol for each in lacking}


def _days_within(request: DatasetRequest, known: tuple[int, int]) -> list[str]:
    """The UTC dates that the periods touch between the first and the last row there is."""
    first_ns, last_ns = known
    return touched_dates(
        (max(start_ns, first_ns), min(end_ns, last_ns + 1)) for start_ns, end_ns in covered(request.folds())
    )
