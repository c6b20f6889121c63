"""The model of the reference model-service: which features it takes when none are named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
import pytest

from examples.model_service.model import LEAST_ROWS, train
from feature_client import Dataset
from market.errors import InvalidRequest

ROWS = 400


@dataclass(frozen=True, slots=True)
class Built:
    """What ``train`` reads of a dataset; every split is the same."""

    features: pd.DataFrame
    dataset_id: str = "d"
    feature_registry_version: str = "1.0.0"
    feature_set: str = "f00d"
    target_columns: tuple[str, ...] = ("target",)

    @property
    def feature_columns(self) -> list[str]:
        return [str(name) for name in self.features]

    def load(self, _split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        return self.features, pd.DataFrame({"target": np.linspace(-1.0, 1.0, len(self.features))})


def built(unknown: dict[str, int]) -> Dataset:
    """A dataset whose features are unknown in so many rows each."""
    rng = np.random.default_rng(0)
    features = pd.DataFrame({name: rng.normal(size=ROWS) for name in unknown})
    for name, count in unknown.items():
        features.loc[features.index[:count], name] = np.nan
    return cast("Dataset", Built(features))


def test_a_feature_that_is_often_unknown_is_not_taken_since_every_vector_without_it_would_be_refused() -> None:
    model = train(built({"mid_price": 0, "vwap_1m": 4, "buy_sell_volume_ratio": 83}), model_id="m")
    assert model.metadata.features == ("mid_price", "vwap_1m")
    assert model.metadata.rows_with_unknown_features == 4
    asked = train(
        built({"mid_price": 0, "buy_sell_volume_ratio": 83}), model_id="m", features=["buy_sell_volume_ratio"]
    )
    assert asked.metadata.features == ("buy_sell_volume_ratio",)


def test_a_dataset_of_which_no_feature_is_known_enough_is_refused_by_the_name_of_the_best_known_one() -> None:
    with pytest.raises(
        InvalidRequest, match=r"features: must be named where none is known in 99% of the train rows, .* vwap_1m in 95%"
    ):
        train(built({"buy_sell_volume_ratio": ROWS - LEAST_ROWS, "vwap_1m": 20}), model_id="m")
