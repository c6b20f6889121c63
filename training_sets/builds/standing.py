"""Standing datasets: a finished dataset is given again while its inputs are those of now and its files are intact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from market.clock import SECOND_NS
from market.errors import CorruptStore, NotFound
from quality.continuity import ContinuityRules
from storage.database.metadata import DatasetRecord, Metadata
from training_sets.dataset.downloads import dataset_folder
from training_sets.dataset.inputs import dataset_inputs
from training_sets.dataset.manifest import is_intact, read_manifest, stated_files
from training_sets.request.request import DatasetRequest
from transforms.rows import FeatureSet


class StandingDatasets:
    """Looks for a dataset that need not be built again; the rules are those that a build is held to."""

    def __init__(
        self,
        metadata: Metadata,
        *,
        features_folder: Path,
        raw_folder: Path,
        continuity: ContinuityRules,
        has_quality_gate: bool,
        row_grid_ns: int = SECOND_NS,
    ) -> None:
        self._metadata = metadata
        self._features_folder = features_folder
        self._raw_folder = raw_folder
        self._continuity = continuity
        self._has_quality_gate = has_quality_gate
        self._row_grid_ns = row_grid_ns

    def find(self, request: DatasetRequest, chosen: FeatureSet, request_hash: str) -> DatasetRecord | None:
        """The newest one that the request would make now. Raises StoreUnavailable, CorruptStore of raw data."""
        ready = self._metadata.find_ready(request_hash)
        if not ready:
            return None
        inputs = dataset_inputs(
            request,
            chosen,
            features_folder=self._features_folder,
            raw_folder=self._raw_folder,
            continuity=self._continuity,
            has_quality_gate=self._has_quality_gate,
            row_grid_ns=self._row_grid_ns,
        )
        return next((record for record in ready if stands_for(dataset_folder(record), inputs)), None)


def stands_for(folder: Path, inputs: dict[str, Any]) -> bool:
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
