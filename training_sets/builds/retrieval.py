"""Retrieval: where a build takes its samples' features from, by the kind of its samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt

from training_sets.builds.place import BuildPlace
from training_sets.request.request import DatasetRequest
from training_sets.samples.asked import TicksAtTimes
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.known import NO_ROW, Known, Retrieval, RowsOnArrival
from training_sets.samples.sampled_days import LEAST_INTERVAL_NS, SampledDays
from training_sets.samples.samples import sample_times
from transforms.rows import FeatureSet


@contextmanager
def open_retrieval(request: DatasetRequest, features: DatasetFeatures, place: BuildPlace) -> Iterator[Retrieval]:
    """What a build retrieves with, while the block lasts. place: its features with the lags of the request.

    Raises NotFound when a symbol that is asked at times for columns of the registry version has no raw data.
    """
    chosen = features.chosen
    if not features.own and request.sample_kind == "at_time":
        yield Retrieval(partial(_without_rows, len(request.symbols), len(chosen.columns)), dict)
        return
    if request.sample_kind == "on_row":
        yield _on_arrival(request, chosen, place)
        return
    times = sample_times(request)
    last_ns = int(times.between(len(times) - 1, len(times))[0])
    with ExitStack() as stack:
        asked = TicksAtTimes(
            place.kernel(chosen),
            place.features,
            {symbol: stack.enter_context(place.raw.until(symbol, last_ns)) for symbol in request.symbols},
            grid_ns=place.rules.row_grid_ns,
            to_ns=last_ns,
        )
        yield Retrieval(
            asked.known, lambda: {"answers": asked.found, "answers_by_the_record_of_what_was_served": asked.measured}
        )


def _without_rows(symbols: int, columns: int, times_ns: npt.NDArray[np.int64]) -> Known:
    """Of samples that have features of other views alone."""
    count = len(times_ns) * symbols
    return Known(np.broadcast_to(np.nan, (count, columns)), np.full(count, NO_ROW), np.repeat(times_ns, symbols))


def _on_arrival(request: DatasetRequest, chosen: FeatureSet, place: BuildPlace) -> Retrieval:
    """Each sample on its row; days that were retrieved before are used again, and kept for the next build."""
    known = RowsOnArrival(place.open_store, chosen, request.symbols, place.features).known
    if place.reuses_samples and request.sampling is None and request.sample_interval_ns >= LEAST_INTERVAL_NS:
        known = SampledDays(
            place.features, chosen, request.symbols, interval_ns=request.sample_interval_ns, retrieve=known
        ).known
    return Retrieval(known, dict)
