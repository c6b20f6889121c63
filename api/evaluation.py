"""The route that measures a model's predictions on a split of a dataset, or gives the split to predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import MalformedRequest
from api.predictions import Predictions, read_predictions
from api.services import ApiServices, Services
from market.clock import format_iso
from market.errors import Conflict, InvalidRequest
from training_sets.dataset.downloads import dataset_folder, split_of
from training_sets.dataset.evaluation import evaluate, strategy_returns
from training_sets.dataset.files import read_columns, read_pieces
from training_sets.dataset.manifest import intact_file, read_manifest, split_entries
from training_sets.dataset.records import download_url, stored_request
from training_sets.dataset.selection import apart_returns, deflated_among
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import Target, is_class

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

MOST_TRIALS: Final = 1_000_000

router = APIRouter(prefix="/model", tags=["evaluation"])


class EvaluationRequest(BaseModel):
    """Predictions of a split, a row each in the order of its file; of several folds, one fold after the other.

    ``predictions`` is one list for a dataset of one target, else a list by target. Of a classification they are the
    classes -1, 0 and 1, or for each row the probabilities of down, flat and up.

    ``trials``: how many models were tried, this one among them, before it was chosen. The metrics then have
    ``deflated_sharpe_ratio``: the probability that the model is better than the best of so many without skill, from
    the returns of rows that lie a horizon apart. It is of targets that are values, and of one fold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset_id: str
    split: Literal["train", "validation", "test"]
    model_version: Annotated[str, Field(min_length=1, max_length=200)]
    metrics_to_compute: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None
    predictions: list[float] | list[list[float]] | dict[str, list[float] | list[list[float]]] | None = None
    fold: Annotated[int, Field(ge=0)] | None = None
    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = None


_SCHEMA: Final = EvaluationRequest.model_json_schema()


class Evaluation(BaseModel):
    """``metrics`` by target, null without predictions; a measure that the rows cannot give is null."""

    evaluation_id: str
    dataset_id: str
    split: str
    model_version: str
    metrics: dict[str, dict[str, Any]] | None
    prepared_dataset_url: str
    metadata: dict[str, Any]


@router.post("/evaluate", openapi_extra={"requestBody": {"content": {"application/json": {"schema": _SCHEMA}}}})
async def evaluate_model(request: Request, services: Services) -> Evaluation:
    """Measure predictions against the split's targets; without predictions, say where the split is."""
    content = await request.body()
    return await run_in_threadpool(_evaluated, services, content, request.state.trace_id)


def _evaluated(services: ApiServices, content: bytes, trace_id: str) -> Evaluation:
    body, predictions = _parsed(content)
    record = services.metadata.get_dataset(body.dataset_id)
    if record.status != "ready":
        raise Conflict(f"dataset {body.dataset_id}: must be ready to be evaluated on, was {record.status}")
    asked = stored_request(record)
    folder = dataset_folder(record)
    manifest = read_manifest(folder)
    entries = split_of(split_entries(manifest), body.split, body.fold)
    paths = [intact_file(folder, entry) for entry in entries]
    names = [target.name for target in asked.targets]
    actual = np.concatenate([read_columns(path, names, asked.output_format) for path in paths])
    metrics = None
    if predictions is not None:
        metrics = {
            target.name: evaluate(target, actual[:, names.index(target.name)], predicted, body.metrics_to_compute)
            for target, predicted in _by_target(predictions, asked.targets)
        }
    told: dict[str, Any] = {}
    if body.trials is not None:
        if metrics is None or predictions is None:
            raise InvalidRequest(f"trials: must come with predictions, was {body.trials} without")
        times_ns = _times(paths, asked)
        rows: dict[str, int] = {}
        for target, predicted in _by_target(predictions, asked.targets):
            returns = _returns(target, times_ns, actual[:, names.index(target.name)], predicted)
            metrics[target.name]["deflated_sharpe_ratio"] = deflated_among(returns, body.trials)
            rows[target.name] = len(returns)
        told = {"trials": body.trials, "sharpe_rows": rows}
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
            "files": [entry.path for entry in entries],
            "feature_registry_version": record.feature_registry_version,
            "feature_set": record.feature_set,
            "evaluated_at": format_iso(services.clock.now_ns()),
            "trace_id": trace_id,
            **told,
        },
    )


def _parsed(content: bytes) -> tuple[EvaluationRequest, Predictions | None]:
    """The request without its predictions, and those. Raises RequestValidationError, InvalidRequest."""
    try:
        fields = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"body: must be a JSON object, was not: {error}") from error
    predictions = fields.pop("predictions", None)
    try:
        body = EvaluationRequest.model_validate({name: msgspec.json.decode(value) for name, value in fields.items()})
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from error
    return body, None if predictions is None else read_predictions(predictions)


def _times(paths: Sequence[Path], asked: DatasetRequest) -> Int64s:
    """The time of each row of one fold. Raises InvalidRequest for several: their rows may be the same, told twice."""
    if len(paths) > 1:
        raise InvalidRequest(f"trials: must be of one fold, which fold names, was of {len(paths)}")
    return np.concatenate([piece.times_ns for piece in read_pieces(paths[0], [], asked.output_format)])


def _returns(target: Target, times_ns: Int64s, actual: Float64s, predicted: Float64s) -> Float64s:
    """What the predictions earn over periods that do not overlap. Raises InvalidRequest for a target of classes."""
    if is_class(target):
        raise InvalidRequest(f"trials: must be of targets that are values, was of {target.name}, which is of classes")
    return apart_returns(times_ns, strategy_returns(actual, predicted), target.horizon_ns)


def _by_target(predictions: Predictions, targets: tuple[Target, ...]) -> list[tuple[Target, Float64s]]:
    """Each target that has predictions, with them."""
    names = {target.name: target for target in targets}
    if not isinstance(predictions, dict):
        if len(targets) > 1:
            raise InvalidRequest(f"predictions: must be by target, of {', '.join(names)}, was one list")
        return [(targets[0], predictions)]
    if unknown := predictions.keys() - names.keys() or not predictions:
        raise InvalidRequest(f"predictions: must be of {', '.join(names)}, was {unknown or 'none'}")
    return [(names[name], predicted) for name, predicted in predictions.items()]
