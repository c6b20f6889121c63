"""Standing datasets: a finished dataset is given again while its inputs are those of now and its files are intact."""

from __future__ import annotations

import json
from typing import Any

from market.errors import CorruptStore, NotFound
from storage.database.dataset_records import DatasetRecord
from storage.database.metadata import Metadata
from storage.places import Place
from training_sets.builds.place import BuildPlace
from training_sets.builds.tables import build_inputs
from training_sets.dataset.downloads import dataset_folder
from training_sets.dataset.manifest import is_intact, read_manifest, stated_files
from training_sets.request.request import DatasetRequest
from training_sets.samples.columns import DatasetFeatures


class StandingDatasets:
    """Looks for a dataset that need not be built again; the rules are those that a build is held to."""

    def __init__(self, metadata: Metadata, place: BuildPlace) -> None:
        self._metadata = metadata
        self._place = place

    def find(self, request: DatasetRequest, features: DatasetFeatures, request_hash: str) -> DatasetRecord | None:
        """The newest one that the request would make now. Raises StoreUnavailable, CorruptStore of raw data."""
        ready = self._metadata.find_ready(request_hash)
        if not ready:
            return None
        place = self._place
        inputs = build_inputs(request, features, place)
        return next((record for record in ready if stands_for(dataset_folder(record), inputs)), None)


def stands_for(folder: Place, inputs: dict[str, Any]) -> bool:
    """Whether a folder is a finished dataset of these inputs, every file as its manifest states it."""
    try:
        manifest = read_manifest(folder)
        stated = stated_files(manifest)
    except (NotFound, CorruptStore):
        return False
    asked = json.loads(json.dumps(inputs))
    return all(manifest.get(name) == value for name, value in asked.items()) and all(
        is_intact(folder, entry) for entry in stated.values()
    )
