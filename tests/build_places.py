"""Where tests build datasets: stores in a folder, and Feast with an online store that no build asks."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from feature_repo.apply import apply_definitions
from feature_repo.definitions import definitions
from feature_repo.registry_versions import SHIPPED_FOLDER
from feature_repo.store import FeatureStore, open_store
from market.clock import SystemClock
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.durable_files import make_folder
from storage.features.log import FeatureLog
from storage.places import Place, place_of
from storage.raw.raw_data import RawData
from training_sets.builds.bookkeeping import Bookkeeping
from training_sets.builds.notices import Announcer, DatasetNotices, InProcessNotices
from training_sets.builds.place import BuildPlace
from training_sets.dataset.inputs import DatasetRules
from training_sets.rebuild.raw_history import RawHistory

GATED = DatasetRules()
UNGATED = DatasetRules(has_quality_gate=False)
"""For recordings in which a column is unknown throughout."""


def offline_store(folder: Path, features: Place, versions: Path = SHIPPED_FOLDER) -> FeatureStore:
    """Feast's store on a registry in the folder; nothing need listen where its online store is said to be."""
    store = open_store(
        registry=folder / "registry.db", online_store={"type": "redis", "connection_string": "localhost:1"}
    )
    objects = definitions(features_folder=features, versions_folder=versions)
    apply_definitions(store, objects, make_folder=lambda address: make_folder(place_of(address)))
    return store


def place_in(
    folder: Path,
    kernels: Path,
    *,
    raw: Path | None = None,
    features: Place | None = None,
    rules: DatasetRules = GATED,
    versions: Path = SHIPPED_FOLDER,
) -> BuildPlace:
    """The place of builds on the stores of a folder, ``raw`` and ``features`` below it unless they are named."""
    features = features or folder / "features"
    store = offline_store(folder, features, versions)
    return BuildPlace(
        open_store=lambda: store,
        features=FeatureLog(features),
        raw=RawHistory.of(RawData(raw or folder / "raw")),
        versions_folder=versions,
        kernels_folder=kernels,
        rules=rules,
    )


def books_on(metadata: Metadata, queue: JobQueue, notices: DatasetNotices | None = None) -> Bookkeeping:
    """The books of builds on one database."""
    clock = SystemClock()
    announcer = Announcer(metadata, notices or InProcessNotices(), clock)
    return Bookkeeping(metadata, queue, announcer, clock, make_id=lambda: uuid4().hex)
