"""The route that measures a model's predictions on a split of a dataset, or gives the split to predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import MalformedRequest
from api.judging import deflated_ratios, details_of, judged_rows, metrics_of, selection_of
from api.parameters import Limit
from api.predictions import Predictions, read_predictions
from api.services import ApiServices, Services
from market.clock import format_iso, to_datetime
from market.errors import Conflict, InvalidRequest
from storage.database.dataset_records import DatasetRecord
from storage.database.evaluations import Cell, Evaluations
from training_sets.dataset.downloads import dataset_folder, split_of
from training_sets.dataset.manifest import intact_file, read_manifest, split_entries
from training_sets.dataset.records import download_url, stored_request
from training_sets.dataset.trials import predictions_digest, shared_test_key

Float64s = npt.NDArray[np.float64]

MOST_TRIALS: Final = 1_000_000

router = APIRouter(prefix="/model", tags=["evaluation"])


class EvaluationRequest(BaseModel):
    """Predictions for a split, one per row in the order of its file; for several folds, one fold after the other.

    ``predictions`` is one list for a dataset with one target, otherwise a list for each target. For a target with
    classes they are labels, or for each row the probabilities of its classes: -1, 0 and 1 for down, flat and up; 0 and
    1 for wrong and right of a ``meta_label``.

    ``trials``: how many models were tried, including this one, before it was chosen. The metrics then have
    ``deflated_sharpe_ratio``: the probability that the model is better than the best of that many without skill, from
    the returns of rows that lie a horizon apart. It needs a numeric target, and one fold or path. Models that were
    evaluated on the same test time before are counted too; the larger of both numbers is used.

    ``cost``: the share of a unit that is paid to buy or sell it, for ``details``.

    ``path``: of a cpcv dataset, the rows of that path in the test files of all folds, one fold after the other.

    ``candidates``: the predictions of every model that was tried, by name, of a dataset with one target. ``selection``
    then names the best, its deflated Sharpe ratio among them, and the probability that choosing so overfits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset_id: str
    split: Literal["train", "validation", "test"]
    model_version: Annotated[str, Field(min_length=1, max_length=200)]
    metrics_to_compute: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None
    candidates: dict[str, list[float]] | None = None
    predictions: list[float] | list[list[float]] | dict[str, list[float] | list[list[float]]] | None = None
    fold: Annotated[int, Field(ge=0)] | None = None
    path: Annotated[int, Field(ge=0)] | None = None
    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = None
    cost: Annotated[float, Field(ge=0, le=1)] = 0.0


_SCHEMA: Final = EvaluationRequest.model_json_schema()


class Evaluation(BaseModel):
    """``metrics`` by target, null without predictions; a metric that the rows do not support is null.

    ``details`` by target: ``calibration``, of values and of probabilities; ``returns``, of a numeric target in one fold
    or path: of all rows, whose labels overlap, and of rows a horizon apart, with turnover, before ``cost`` and after.
    """

    evaluation_id: str
    dataset_id: str
    split: str
    model_version: str
    metrics: dict[str, dict[str, Any]] | None
    details: dict[str, dict[str, Any]] | None
    selection: dict[str, Any] | None
    prepared_dataset_url: str
    metadata: dict[str, Any]


@router.post("/evaluate", openapi_extra={"requestBody": {"content": {"application/json": {"schema": _SCHEMA}}}})
async def evaluate_model(request: Request, services: Services) -> Evaluation:
    """Measure predictions against the split's targets; without predictions, say where the split is."""
    content = await request.body()
    return await run_in_threadpool(_evaluated, services, content, request.state.trace_id)


class KeptEvaluations(BaseModel):
    """Evaluations of a dataset, the newest first. ``trials``: models that were tried on the time of its test split."""

    dataset_id: str
    trials: int
    evaluations: list[dict[str, Any]]


@router.get("/evaluations")
def list_evaluations(
    services: Services,
    dataset_id: Annotated[str, Query(description="Id of the dataset.")],
    limit: Limit = 100,
) -> KeptEvaluations:
    """Evaluations of models on any split of a dataset, also after it was deleted."""
    kept = Evaluations(services.metadata)
    found = kept.newest(dataset_id, limit=limit)
    key = kept.test_data_of(dataset_id)
    if not found and key is None:
        services.metadata.get_dataset(dataset_id)
    return KeptEvaluations(dataset_id=dataset_id, trials=0 if key is None else kept.trials(key), evaluations=found)


def _evaluated(services: ApiServices, content: bytes, trace_id: str) -> Evaluation:
    body, predictions, candidates = _parsed(content)
    record = services.metadata.get_dataset(body.dataset_id)
    if record.status != "ready":
        raise Conflict(f"dataset {body.dataset_id}: must be ready for evaluation, was {record.status}")
    folder = dataset_folder(record)
    asked = stored_request(record)
    entries = split_of(split_entries(read_manifest(folder)), body.split, body.fold)
    files = [intact_file(folder, entry) for entry in entries]
    rows = judged_rows(asked, files, split=body.split, fold=body.fold, path=body.path)
    metrics = None if predictions is None else metrics_of(rows, predictions, body.metrics_to_compute)
    details = None if predictions is None else details_of(rows, predictions, body.cost)
    if candidates is not None:
        rows.check_candidates(candidates)
    if body.trials is not None:
        if predictions is None:
            raise InvalidRequest(f"trials: must come with predictions, was {body.trials} without")
        rows.check_trials(predictions)
    counted = _counted(services, body, record, predictions, candidates)
    told: dict[str, Any] = {} if counted is None else {"trials_counted": counted}
    trials = max(body.trials or 0, counted or 0)
    is_asked = body.trials is not None or (body.metrics_to_compute is None and counted is not None)
    if metrics is not None and predictions is not None and is_asked and rows.are_of_one_series:
        told |= deflated_ratios(rows, predictions, trials, metrics)
    evaluation = Evaluation(
        evaluation_id=services.make_trace_id(),
        dataset_id=body.dataset_id,
        split=body.split,
        model_version=body.model_version,
        metrics=metrics,
        details=details,
        selection=None if candidates is None else selection_of(rows, candidates, trials),
        prepared_dataset_url=download_url(body.dataset_id, body.split),
        metadata={
            "rows": len(rows.actual),
            "targets": [target.name for target in asked.targets],
            "files": [entry.path for entry in entries],
            "fold": body.fold,
            "path": body.path,
            "feature_registry_version": record.feature_registry_version,
            "feature_set": record.feature_set,
            "evaluated_at": format_iso(services.clock.now_ns()),
            "trace_id": trace_id,
            **told,
        },
    )
    if predictions is not None or candidates is not None:
        Evaluations(services.metadata).keep(evaluation.model_dump(), to_datetime(services.clock.now_ns()))
    return evaluation


def _counted(
    services: ApiServices,
    body: EvaluationRequest,
    record: DatasetRecord,
    predictions: Predictions | None,
    candidates: Mapping[str, Float64s] | None,
) -> int | None:
    """Count what is tried on a test split; how many models were tried on its time, None of another split."""
    tried = [*(() if predictions is None else (predictions,)), *(() if candidates is None else candidates.values())]
    if body.split != "test" or not tried:
        return None
    asked = stored_request(record)
    cell = Cell(shared_test_key(asked), record.dataset_id, body.fold, body.path)
    return Evaluations(services.metadata).count_trials(cell, [predictions_digest(each) for each in tried])


def _parsed(content: bytes) -> tuple[EvaluationRequest, Predictions | None, dict[str, Float64s] | None]:
    """The request without its predictions, those, and those of candidates.

    Raises RequestValidationError, InvalidRequest.
    """
    try:
        fields = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"body: must be a JSON object: {error}") from error
    predictions, named = fields.pop("predictions", None), fields.pop("candidates", None)
    try:
        body = EvaluationRequest.model_validate({name: msgspec.json.decode(value) for name, value in fields.items()})
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from error
    candidates = None if named is None else read_predictions(named)
    if candidates is not None and not isinstance(candidates, dict):
        raise InvalidRequest("candidates: must map model names to lists, was one list")
    return body, None if predictions is None else read_predictions(predictions), candidates
