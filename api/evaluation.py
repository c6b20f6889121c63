"""The route that measures a model's predictions on a split of a dataset, or gives the split to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.services import Services
from market.clock import format_iso
from market.errors import Conflict, CorruptStore, InvalidRequest, NotFound
from training_sets.dataset.downloads import dataset_folder
from training_sets.dataset.evaluation import evaluate
from training_sets.dataset.files import read_columns
from training_sets.dataset.manifest import read_manifest
from training_sets.dataset.records import download_url, stored_request
from training_sets.request.targets import Target

MOST_PREDICTIONS: Final = 10_000_000

router = APIRouter(prefix="/model", tags=["evaluation"])

Values = Annotated[list[float], Field(max_length=MOST_PREDICTIONS)]
Probabilities = Annotated[list[list[float]], Field(max_length=MOST_PREDICTIONS)]


class EvaluationRequest(BaseModel):
    """Predictions of a split, a row each in the order of its file; of several folds, one fold after the other.

    ``predictions`` is one list for a dataset of one target, else a list by target. Of a classification they are the
    classes -1, 0 and 1, or for each row the probabilities of down, flat and up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset_id: str
    split: Literal["train", "validation", "test"]
    model_version: Annotated[str, Field(min_length=1, max_length=200)]
    metrics_to_compute: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None
    predictions: Values | Probabilities | dict[str, Values | Probabilities] | None = None
    fold: Annotated[int, Field(ge=0)] | None = None


class Evaluation(BaseModel):
    """``metrics`` by target, null without predictions; a measure that the rows cannot give is null."""

    evaluation_id: str
    dataset_id: str
    split: str
    model_version: str
    metrics: dict[str, dict[str, Any]] | None
    prepared_dataset_url: str
    metadata: dict[str, Any]


@router.post("/evaluate")
def evaluate_model(request: Request, services: Services, body: EvaluationRequest) -> Evaluation:
    """Measure predictions against the split's targets; without predictions, say where the split is."""
    record = services.metadata.get_dataset(body.dataset_id)
    if record.status != "ready":
        raise Conflict(f"dataset {body.dataset_id}: must be ready to be evaluated on, was {record.status}")
    asked = stored_request(record)
    folder = dataset_folder(record)
    manifest = read_manifest(folder)
    paths = _paths(manifest, folder, body.split, body.fold)
    names = [target.name for target in asked.targets]
    actual = np.concatenate([read_columns(path, names, asked.output_format) for path in paths])
    metrics = None
    if body.predictions is not None:
        predictions = _by_target(body, asked.targets)
        metrics = {
            target.name: evaluate(
                target, actual[:, names.index(target.name)], _array(target, predicted), body.metrics_to_compute
            )
            for target, predicted in predictions
        }
    return Evaluation(
        evaluation_id=services.make_trace_id(),
        dataset_id=body.dataset_id,
        split=body.split,
        model_version=body.model_version,
        metrics=metrics,
        prepared_dataset_url=download_url(body.dataset_id, body.split),
        metadata={
            "rows": len(actual),
            "targets": names,
            "files": [path.relative_to(folder).as_posix() for path in paths],
            "feature_registry_version": record.feature_registry_version,
            "feature_set": record.feature_set,
            "evaluated_at": format_iso(services.clock.now_ns()),
            "trace_id": request.state.trace_id,
        },
    )


def _paths(manifest: dict[str, Any], folder: Path, split: str, fold: int | None) -> list[Path]:
    """The split's files in order of their folds."""
    wanted = None if fold is None else f"fold={fold:03d}"
    files = {
        name: folder / entry["path"]
        for name, entry in manifest["files"].items()
        if name.rpartition("/")[2] == split and wanted in {None, name.rpartition("/")[0]}
    }
    if not files:
        raise NotFound(f"split: must be one of {', '.join(manifest['files'])}, was {split} of fold {fold}")
    for path in files.values():
        if not path.is_file():
            raise CorruptStore(f"{path}: must be a file of the dataset, was none")
    return list(files.values())


def _by_target(body: EvaluationRequest, targets: tuple[Target, ...]) -> list[tuple[Target, Any]]:
    """Each target that has predictions, with them."""
    names = {target.name: target for target in targets}
    if not isinstance(body.predictions, dict):
        if len(targets) > 1:
            raise InvalidRequest(f"predictions: must be by target, of {', '.join(names)}, was one list")
        return [(targets[0], body.predictions)]
    if unknown := body.predictions.keys() - names.keys() or not body.predictions:
        raise InvalidRequest(f"predictions: must be of {', '.join(names)}, was {unknown or 'none'}")
    return [(names[name], predicted) for name, predicted in body.predictions.items()]


def _array(target: Target, predicted: Any) -> np.ndarray[Any, np.dtype[np.float64]]:  # noqa: ANN401  # lists of numbers, or of lists
    try:
        return np.array(predicted, np.float64)
    except ValueError as error:
        raise InvalidRequest(f"predictions of {target.name}: must be rows of one length, was not") from error
