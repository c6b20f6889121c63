"""The route that measures a model's predictions on a split of a dataset, or gives the split to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from training_sets.dataset.calibration import calibration_of_classes, calibration_of_values
from training_sets.dataset.downloads import dataset_folder, split_of
from training_sets.dataset.evaluation import evaluate, strategy_returns
from training_sets.dataset.files import PATH, read_columns, read_pieces
from training_sets.dataset.manifest import intact_file, read_manifest, split_entries
from training_sets.dataset.records import download_url, stored_request
from training_sets.dataset.selection import (
    MOST_PARTS,
    apart_returns,
    deflated_among,
    deflated_best,
    overfitting_probability,
)
from training_sets.dataset.trading import Held, trading_document
from training_sets.request.folds import PurgedCombinations
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget, Target, is_class

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
    the returns of rows that lie a horizon apart. It is of targets that are values, and of one fold or path.

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
    """``metrics`` by target, null without predictions; a measure that the rows cannot give is null.

    ``details`` by target: ``calibration``, of values and of probabilities; ``returns``, of values of one fold or path:
    of labels that overlap and of rows a horizon apart, with turnover, before ``cost`` and after.
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


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that are judged. actual: float64 (n, targets). paths: of their files. chosen: bool (n,), None is all."""

    asked: DatasetRequest
    paths: Sequence[Path]
    actual: Float64s
    chosen: npt.NDArray[np.bool_] | None

    def times_ns(self) -> Int64s:
        """Raises InvalidRequest for several folds without a path: their rows may be the same, told twice."""
        if len(self.paths) > 1 and self.chosen is None:
            raise InvalidRequest(f"trials: must be of one fold or path, which fold names, was of {len(self.paths)}")
        pieces = [piece for path in self.paths for piece in read_pieces(path, [], self.asked.output_format)]
        times_ns = np.concatenate([piece.times_ns for piece in pieces])
        return times_ns if self.chosen is None else times_ns[self.chosen]

    def symbols(self) -> Int64s:
        """The number of each row's symbol among those of the request, int64 (n,)."""
        pieces = [piece for path in self.paths for piece in read_pieces(path, [], self.asked.output_format)]
        names = np.concatenate([piece.symbols for piece in pieces])
        found = np.array([self.asked.symbols.index(name) for name in names.tolist()], np.int64)
        return found if self.chosen is None else found[self.chosen]


def _evaluated(services: ApiServices, content: bytes, trace_id: str) -> Evaluation:
    body, predictions, candidates = _parsed(content)
    record = services.metadata.get_dataset(body.dataset_id)
    if record.status != "ready":
        raise Conflict(f"dataset {body.dataset_id}: must be ready to be evaluated on, was {record.status}")
    asked = stored_request(record)
    folder = dataset_folder(record)
    entries = split_of(split_entries(read_manifest(folder)), body.split, body.fold)
    rows = _rows(asked, [intact_file(folder, entry) for entry in entries], body)
    names = [target.name for target in asked.targets]
    metrics = None
    if predictions is not None:
        metrics = {
            target.name: evaluate(target, rows.actual[:, names.index(target.name)], predicted, body.metrics_to_compute)
            for target, predicted in _by_target(predictions, asked.targets)
        }
    details = None if predictions is None else _details(rows, predictions, body.cost)
    told: dict[str, Any] = {}
    if body.trials is not None:
        if metrics is None or predictions is None:
            raise InvalidRequest(f"trials: must come with predictions, was {body.trials} without")
        told = _deflated(rows, predictions, body.trials, metrics)
    return Evaluation(
        evaluation_id=services.make_trace_id(),
        dataset_id=body.dataset_id,
        split=body.split,
        model_version=body.model_version,
        metrics=metrics,
        details=details,
        selection=None if candidates is None else _selection(rows, candidates),
        prepared_dataset_url=download_url(body.dataset_id, body.split),
        metadata={
            "rows": len(rows.actual),
            "targets": names,
            "files": [entry.path for entry in entries],
            "feature_registry_version": record.feature_registry_version,
            "feature_set": record.feature_set,
            "evaluated_at": format_iso(services.clock.now_ns()),
            "trace_id": trace_id,
            **told,
        },
    )


def _rows(asked: DatasetRequest, paths: Sequence[Path], body: EvaluationRequest) -> _Rows:
    """Raises InvalidRequest for a path of another strategy, split or number."""
    names = [target.name for target in asked.targets]
    actual = np.concatenate([read_columns(path, names, asked.output_format) for path in paths])
    if body.path is None:
        return _Rows(asked, paths, actual, None)
    if not isinstance(asked.strategy, PurgedCombinations) or body.split != "test" or body.fold is not None:
        raise InvalidRequest(f"path: must be of the test split of every fold of a cpcv dataset, was {body.path}")
    of = np.concatenate([read_columns(path, [PATH], asked.output_format)[:, 0] for path in paths])
    chosen = of == body.path
    if not chosen.any():
        raise InvalidRequest(f"path: must be one with rows, 0 to {int(of.max())}, was {body.path}")
    return _Rows(asked, paths, actual[chosen], chosen)


def _details(rows: _Rows, predictions: Predictions, cost: float) -> dict[str, dict[str, Any]]:
    """Of each target what is more than a number."""
    names = [target.name for target in rows.asked.targets]
    is_one_fold = len(rows.paths) == 1 or rows.chosen is not None
    found: dict[str, dict[str, Any]] = {}
    for target, predicted in _by_target(predictions, rows.asked.targets):
        actual = rows.actual[:, names.index(target.name)]
        if is_class(target):
            found[target.name] = {
                "calibration": calibration_of_classes(actual, predicted) if predicted.ndim == 2 else None,
                "returns": None,
            }
            continue
        returns = None
        if is_one_fold and isinstance(target, RegressionTarget):
            held = Held(rows.times_ns(), rows.symbols(), np.sign(predicted), actual)
            returns = trading_document(held, apart_ns=target.horizon_ns, cost=cost)
        found[target.name] = {"calibration": calibration_of_values(actual, predicted), "returns": returns}
    return found


def _deflated(rows: _Rows, predictions: Predictions, trials: int, metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Add the deflated Sharpe ratio to the metrics of each target; what of it the metadata tell."""
    names = [target.name for target in rows.asked.targets]
    times_ns = rows.times_ns()
    counts: dict[str, int] = {}
    for target, predicted in _by_target(predictions, rows.asked.targets):
        returns = _returns(target, times_ns, rows.actual[:, names.index(target.name)], predicted)
        metrics[target.name]["deflated_sharpe_ratio"] = deflated_among(returns, trials)
        counts[target.name] = len(returns)
    return {"trials": trials, "sharpe_rows": counts}


def _selection(rows: _Rows, candidates: dict[str, Float64s]) -> dict[str, Any]:
    """What the best of several models is worth, by returns of rows that lie a horizon apart."""
    targets = rows.asked.targets
    if len(targets) > 1 or len(candidates) < 2:
        raise InvalidRequest(
            f"candidates: must be two or more, of a dataset with one target, was {len(candidates)} of {len(targets)}"
        )
    times_ns = rows.times_ns()
    for predicted in candidates.values():
        evaluate(targets[0], rows.actual[:, 0], predicted, ["sharpe_ratio"])
    of_each = [_returns(targets[0], times_ns, rows.actual[:, 0], predicted) for predicted in candidates.values()]
    returns = np.stack(of_each, axis=1)
    best, deflated = deflated_best(returns)
    parts = min(MOST_PARTS, len(returns) // 4 * 2)
    return {
        "best": list(candidates)[best],
        "deflated_sharpe_ratio": deflated,
        "overfitting_probability": overfitting_probability(returns, parts=parts) if parts >= 2 else None,
        "parts": parts,
        "candidates": len(candidates),
        "sharpe_rows": len(returns),
    }


def _parsed(content: bytes) -> tuple[EvaluationRequest, Predictions | None, dict[str, Float64s] | None]:
    """The request without its predictions, those, and those of candidates.

    Raises RequestValidationError, InvalidRequest.
    """
    try:
        fields = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"body: must be a JSON object, was not: {error}") from error
    predictions, named = fields.pop("predictions", None), fields.pop("candidates", None)
    try:
        body = EvaluationRequest.model_validate({name: msgspec.json.decode(value) for name, value in fields.items()})
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from error
    candidates = None if named is None else read_predictions(named)
    if candidates is not None and not isinstance(candidates, dict):
        raise InvalidRequest("candidates: must be lists by the name of each model, was one list")
    return body, None if predictions is None else read_predictions(predictions), candidates


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
