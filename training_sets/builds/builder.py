"""The builder: from a request to the files of every fold and split, with their manifest.

1. Fetch missing days, if possible, and make sure that the features exist, rebuilding the
   symbol-days that are missing.
2. Find the prices that labels are made of.
3. Piece after piece in time order: take the features that the model has at each sample, its row once that has arrived
   or the newest tick there is at its time, so that what came late is not seen earlier, and beside it what other views
   knew then; label from the moment at which the model acts; drop and count what has no features or no label; assign
   each row to the splits of every fold, purge and embargo; write it to their files.
4. Give the files their names, then check continuity, leakage, of the files as they are, and quality; whatever fails
   leaves no dataset.
5. Write the manifest: a folder with a manifest is complete. Memory holds one piece and its prices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from quality.one_thread import one_blas_thread
from storage.places import Place, local
from storage.tables.reading import Table
from training_sets.builds.feature_days import make_features
from training_sets.builds.finishing import write_documents
from training_sets.builds.missing_days import fill_days, lacking_days
from training_sets.builds.place import BuildPlace
from training_sets.builds.retrieval import open_retrieval
from training_sets.builds.tables import build_inputs, read_tables
from training_sets.builds.verdict import judge_files
from training_sets.builds.writing import keep_folds, write_samples
from training_sets.checks.coverage import dataset_coverage
from training_sets.checks.inspection import open_continuity
from training_sets.request.request import DatasetRequest
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.event_times import event_times
from training_sets.samples.kline_days import KlineHistory
from training_sets.samples.known import Retrieval
from training_sets.samples.lagged_rows import with_history_lags
from training_sets.samples.samples import SamplePlan, Sampler, label_prices, sample_times
from training_sets.samples.session_prices import BARS, session_prices

PRICES_STEP: Final = "reading prices"
"""The step with which the features are all there."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A finished dataset: where its folder is, its manifest and the rows of each split by name, over all folds.

    days_computed, days_reused: symbol-days whose features were rebuilt for it, and those that were there. is_reused:
    whether it already existed when it was requested.
    """

    place: Place
    manifest: dict[str, Any]
    records: dict[str, int]
    days_computed: int = 0
    days_reused: int = 0
    is_reused: bool = False

    @property
    def path(self) -> Path:
        """The folder. Raises InvalidRequest where it is in an object store."""
        return local(self.place)


def build_dataset(
    request: DatasetRequest,
    place: BuildPlace,
    folder: Path,
    *,
    on_step: Callable[[str], None] = lambda _step: None,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> Dataset:
    """Build the dataset of ``request`` in ``folder``.

    The files have the columns symbol, timestamp (UTC), the features in the order of ``DatasetFeatures``, the targets,
    and fold where there are folds; they lie in ``fold-NNN`` then. on_progress: told the share of the step that is done,
    day by day or piece by piece; what either callback raises ends the build.

    Raises InvalidRequest naming what is possible when the request cannot be met, NotFound for an unknown version.
    """
    chosen = place.feature_set(request.registry_version)
    features = DatasetFeatures.of(request, chosen, place.open_store)
    tables = read_tables(request, features, place)
    if place.filler is not None and features.own and (lacking := lacking_days(request, chosen, place)):
        on_step("fetching the days without data")
        fill_days(lacking, chosen, place, on_progress=on_progress)
    on_step("making sure that the features exist")
    days = make_features(request, chosen, place, on_progress=on_progress)
    inputs = build_inputs(request, features, place)
    on_step(PRICES_STEP)
    # Days are made into the log as it is, and read with the lags of the request.
    place = replace(place, features=with_history_lags(place.features, request.history_lag_ms))
    with open_retrieval(request, features, place) as retrieval:
        sampler = _open_sampler(request, features, place, retrieval, tables)
        on_step("retrieving features as they were known, labelling, splitting")
        written = write_samples(request, features, sampler, folder, on_progress=on_progress)
    on_step("writing files")
    kept = keep_folds(request, written, place)
    on_step("checking continuity, leakage and quality")
    with one_blas_thread():
        verdict = judge_files(request, features, written, kept, place)
        certificates = dataset_coverage(request, chosen, place.raw.until, (place.certificates, place.klines))
        told = {**inputs, "feature_references": list(features.references), "coverage": certificates}
        manifest = write_documents(request, told, written, kept, verdict, folder)
    return Dataset(folder, manifest, manifest["records"], days.computed, days.reused)


def _open_sampler(
    request: DatasetRequest,
    features: DatasetFeatures,
    place: BuildPlace,
    retrieval: Retrieval,
    tables: Mapping[str, Table],
) -> Sampler:
    raw = place.raw.parquet
    if request.sessions is not None:
        prices = {symbol: session_prices(tables[BARS], symbol, request.sessions) for symbol in request.symbols}
    else:
        prices = label_prices(request, place.features, KlineHistory(raw, place.klines))
    is_of_events = request.sampling is not None
    times = event_times(request, prices[request.symbols[0]], raw) if is_of_events else sample_times(request)
    return Sampler(
        request,
        features,
        retrieval,
        SamplePlan(times, prices, tables),
        place.features,
        continuity=open_continuity(request, place.rules.continuity),
    )
