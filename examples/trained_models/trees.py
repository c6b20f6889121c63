"""Gradient-boosted trees on the rows of a dataset; how many trees, the validation split says."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor

from feature_client import Dataset

MOST_TREES: Final = 200
LEARNING_RATE: Final = 0.03
LEAVES: Final = 15
LEAST_IN_LEAF: Final = 200
"""Returns are nearly all noise: a leaf of few rows learns it by heart."""

Float64s = npt.NDArray[np.float64]


def predict_splits(dataset: Dataset, seed: int) -> dict[str, Float64s]:
    """Predictions of each split, float64 (rows,) in the order of its file."""
    splits = {name: dataset.load(name) for name in ("train", "validation", "test")}
    target = dataset.target_columns[0]
    train = splits["train"].features
    # A column without two values tells nothing, and no bins can be made of it.
    chosen = [name for name in dataset.feature_columns if train[name].min() < train[name].max()]
    rows = {name: loaded.features[chosen].to_numpy() for name, loaded in splits.items()}
    wanted = {name: loaded.targets[target].to_numpy() for name, loaded in splits.items()}
    model = HistGradientBoostingRegressor(
        learning_rate=LEARNING_RATE,
        max_iter=MOST_TREES,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAST_IN_LEAF,
        l2_regularization=1.0,
        early_stopping=False,  # it would draw its own validation rows out of train, whose labels overlap
        random_state=seed,
    )
    model.fit(rows["train"], wanted["train"])
    staged = [np.mean((each - wanted["validation"]) ** 2) for each in model.staged_predict(rows["validation"])]
    trees = int(np.argmin(staged)) + 1
    model.set_params(max_iter=trees).fit(rows["train"], wanted["train"])
    return {name: model.predict(of_split) for name, of_split in rows.items()}
