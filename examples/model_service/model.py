"""A ridge regression in numpy: what a model needs of a dataset, and what its artifact says of where it comes from.

An artifact is a folder: ``weights.json``, the numbers of the model, and ``metadata.json``, which names the dataset, the
registry version, the feature set, the order of the features, the target and the metrics of each split.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from feature_client import Dataset
from market.errors import InvalidRequest, NotFound

RIDGE: Final = 1.0
LEAST_ROWS: Final = 20
MOST_DEVIATIONS: Final = 5.0
"""Inputs are clipped at so many standard deviations from the train split's mean: a line is no good beyond its data."""
LEAST_KNOWN: Final = 0.99
"""Share of the train rows in which a feature must be known to be taken when none are named: a vector that lacks one of
the model's features is refused, so a feature that is often unknown would cost as many predictions."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Everything that a prediction is to be trusted by.

    metrics: by split, rows that could be used, root mean squared error, that of always predicting the train mean, and
    the correlation with the target; None where it is not defined.
    """

    model_id: str
    dataset_id: str
    feature_registry_version: str
    feature_set: str
    features: tuple[str, ...]
    target: str
    rows_with_unknown_features: int
    metrics: dict[str, dict[str, float | int | None]]


@dataclass(frozen=True, slots=True)
class Model:
    """center, scale, weights: float64 (features,), fitted on the train split alone."""

    metadata: Metadata
    center: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    intercept: float

    def predict(self, values: Mapping[str, float]) -> float:
        """The target for a vector that has every feature; extra ones are ignored."""
        row = np.array([[values[name] for name in self.metadata.features]])
        return float(self.predict_rows(row)[0])

    def predict_rows(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """float64 (rows,) of float64 (rows, features)."""
        scaled = np.clip((rows - self.center) / self.scale, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        predicted: npt.NDArray[np.float64] = scaled @ self.weights + self.intercept
        return predicted

    def save(self, folder: Path) -> Path:
        """Write the artifact; the folder has its name once it is whole."""
        path = folder / self.metadata.model_id
        unfinished = folder / f".{self.metadata.model_id}"
        unfinished.mkdir(parents=True)
        numbers = {
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "intercept": self.intercept,
        }
        (unfinished / "weights.json").write_text(json.dumps(numbers))
        (unfinished / "metadata.json").write_text(json.dumps(asdict(self.metadata), indent=2))
        return unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Model:
        """Raises NotFound."""
        try:
            numbers = json.loads((path / "weights.json").read_text())
            stated = json.loads((path / "metadata.json").read_text())
        except FileNotFoundError as error:
            raise NotFound(f"model: must be an artifact, was {path.name!r}") from error
        metadata = Metadata(**(stated | {"features": tuple(stated["features"])}))
        center, scale, weights = (np.array(numbers[name]) for name in ("center", "scale", "weights"))
        return cls(metadata, center, scale, weights, numbers["intercept"])


def train(dataset: Dataset, *, model_id: str, features: Sequence[str] = (), target: str | None = None) -> Model:
    """Fit on the train split. Rows with an unknown feature are left out and counted.

    features: in the order asked; none takes those that are known in LEAST_KNOWN of the rows and vary. Raises
    InvalidRequest for a column that the dataset has not, too few rows, or no feature that is known enough.
    """
    known, labels = dataset.load("train")
    names = dataset.feature_columns
    target = target or dataset.target_columns[0]
    if target not in labels:
        raise InvalidRequest(f"target: must be one of {', '.join(dataset.target_columns)}, was {target!r}")
    if strange := [name for name in features if name not in names]:
        raise InvalidRequest(f"features: must be columns of the dataset, was {', '.join(strange)}")
    chosen = tuple(features) or _well_known(known[names])
    rows, wanted = _whole(known, labels, chosen, target)
    if len(rows) < LEAST_ROWS:
        raise InvalidRequest(f"train: must have {LEAST_ROWS} rows with every feature known, was {len(rows)}")
    center, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[rows.min(axis=0) == rows.max(axis=0)] = 1.0  # a constant's mean may round to something else
    scaled, intercept = (rows - center) / scale, float(wanted.mean())
    weights = np.linalg.solve(scaled.T @ scaled + RIDGE * np.eye(len(chosen)), scaled.T @ (wanted - intercept))
    metadata = Metadata(
        model_id,
        dataset.dataset_id,
        dataset.feature_registry_version,
        dataset.feature_set,
        chosen,
        target,
        len(known) - len(rows),
        {},
    )
    model = Model(metadata, center, scale, weights, intercept)
    for split in ("train", "validation", "test"):
        metadata.metrics[split] = _measured(model, dataset, split)
    return model


def _well_known(known: pd.DataFrame) -> tuple[str, ...]:
    """The columns that are known in LEAST_KNOWN of the rows and vary. Raises InvalidRequest where there is none."""
    varying = known.loc[:, known.min() < known.max()]
    shares = varying.notna().mean()
    if not len(shares) or shares.max() < LEAST_KNOWN:
        best = f"the best known is {shares.idxmax()} in {shares.max():.0%}" if len(shares) else "none varies"
        raise InvalidRequest(
            f"features: must be named where none is known in {LEAST_KNOWN:.0%} of the train rows, {best}"
        )
    return tuple(shares.index[shares >= LEAST_KNOWN])


def _measured(model: Model, dataset: Dataset, split: str) -> dict[str, float | int | None]:
    known, labels = dataset.load(split)
    rows, wanted = _whole(known, labels, model.metadata.features, model.metadata.target)
    if not len(rows):
        return {"rows": 0, "rmse": None, "rmse_of_mean": None, "correlation": None}
    predicted = model.predict_rows(rows)
    varies = predicted.min() < predicted.max() and wanted.min() < wanted.max()
    return {
        "rows": len(rows),
        "rmse": math.sqrt(float(np.mean((predicted - wanted) ** 2))),
        "rmse_of_mean": math.sqrt(float(np.mean((model.intercept - wanted) ** 2))),
        "correlation": float(np.corrcoef(predicted, wanted)[0, 1]) if varies else None,
    }


def _whole(
    known: pd.DataFrame, labels: pd.DataFrame, features: Sequence[str], target: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The rows in which every feature and the label are known."""
    is_whole = known[list(features)].notna().all(axis=1).to_numpy() & labels[target].notna().to_numpy()
    return known.loc[is_whole, list(features)].to_numpy(), labels.loc[is_whole, target].to_numpy()
