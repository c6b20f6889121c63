"""A request of real candles, and whether the dataset in a folder stands for it there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, HOUR_NS, MINUTE_NS
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from tests.build_places import UNGATED, books_on, place_in
from tests.real_candles import BEGIN_NS, SYMBOL
from training_sets.builds.builds import DatasetBuilds
from training_sets.builds.notices import InProcessNotices
from training_sets.builds.place import BuildPlace
from training_sets.builds.standing import stands_for
from training_sets.dataset.datasets import Datasets
from training_sets.dataset.inputs import DatasetRules, dataset_inputs
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.columns import DatasetFeatures

BEGIN_OF_SAMPLES_NS = BEGIN_NS + 2 * DAY_NS + HOUR_NS
REQUEST = DatasetRequest(
    (SYMBOL,),
    TimeBased(default_periods(BEGIN_OF_SAMPLES_NS, BEGIN_OF_SAMPLES_NS + 20 * HOUR_NS)),
    (RegressionTarget(5 * MINUTE_NS, name="change"),),
    "1.2.0",
    sample_interval_ns=MINUTE_NS,
)


def place_of(folder: Path, kernel_cache: Path) -> BuildPlace:
    # The recording of candles has no funding, so that a column is unknown throughout.
    return place_in(folder, kernel_cache, rules=UNGATED)


def inputs_in(folder: Path, request: DatasetRequest, rules: DatasetRules = UNGATED) -> dict[str, Any]:
    features = DatasetFeatures.of_version(load_registry_version(request.registry_version).feature_set)
    return dataset_inputs(request, features, FeatureLog(folder / "features"), RawData(folder / "raw"), rules)


def is_standing(
    folder: Path, *, request: DatasetRequest = REQUEST, rules: DatasetRules = UNGATED, **stated: object
) -> bool:
    """Whether the dataset stands for what is in the folder; ``stated``: inputs that are others."""
    inputs = inputs_in(folder, request, rules)
    assert stated.keys() <= inputs.keys()
    return stands_for(folder / "dataset", inputs | stated)


def damage(path: Path) -> None:
    """Another last byte: the size stays. The file system's clock, which tells of it, ticks every few milliseconds."""
    content, before = path.read_bytes(), path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@contextmanager
def opened(
    folder: Path, kernel_cache: Path, metadata: Metadata, url: str, notices: InProcessNotices
) -> Iterator[DatasetBuilds]:
    books = books_on(metadata, JobQueue(url), notices)
    builds = DatasetBuilds(books, place_of(folder, kernel_cache), Datasets(folder / "datasets"))
    try:
        yield builds
    finally:
        builds.close()
