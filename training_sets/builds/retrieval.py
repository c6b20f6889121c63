"""Retrieval: where a build takes its samples' features from, by the kind of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_sets.rebuild.raw_data import OpenRaw, opened_until
from training_sets.request.request import DatasetRequest
from training_sets.samples.asked import TicksAtTimes
from training_sets.samples.known import Known, RowsOnArrival
from training_sets.samples.sampled_days import LEAST_INTERVAL_NS, SampledDays
from training_sets.samples.samples import Int64s, sample_times
from transforms.kernel import compile_kernel
from transforms.rows import FeatureSet

if TYPE_CHECKING:
    from feature_repo.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Retrieval:
    """known: what is known at ascending times. document: what of it the manifest states, once all was retrieved."""

    known: Callable[[Int64s], Known]
    document: Callable[[], dict[str, Any]]


@contextmanager
def open_retrieval(
    request: DatasetRequest,
    chosen: FeatureSet,
    *,
    store: FeatureStore,
    features_folder: Path,
    raw_folder: Path,
    open_raw: OpenRaw,
    kernels_folder: Path,
    keeps_days: bool,
    grid_ns: int,
) -> Iterator[Retrieval]:
    """What a build retrieves with, while the block lasts.

    keeps_days: whether days retrieved before are used again, and kept for the next build; of samples on rows. grid_ns:
    the row grid of history that was not served live; of samples at times.

    Raises NotFound when a symbol that is asked at times has no raw data.
    """
    if request.sample_kind == "on_row":
        rows = RowsOnArrival(store, chosen, request.symbols, features_folder=features_folder)
        known = rows.known
        if keeps_days and request.sample_interval_ns >= LEAST_INTERVAL_NS:
            known = SampledDays(
                features_folder,
                chosen,
                request.symbols,
                interval_ns=request.sample_interval_ns,
                retrieve=rows.known,
            ).known
        yield Retrieval(known, dict)
        return
    times = sample_times(request)
    last_ns = int(times.between(len(times) - 1, len(times))[0])
    with ExitStack() as stack:
        folders = {
            symbol: stack.enter_context(opened_until(raw_folder, symbol, last_ns, open_raw))
            for symbol in request.symbols
        }
        asked = TicksAtTimes(
            compile_kernel(chosen, kernels_folder),
            folders,
            features_folder=features_folder,
            grid_ns=grid_ns,
            to_ns=last_ns,
        )
        yield Retrieval(
            asked.known, lambda: {"answers": asked.found, "answers_by_the_record_of_what_was_served": asked.measured}
        )
