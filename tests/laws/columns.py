"""The columns that the laws hold for, with what each declares: the whole catalogue and some normalised columns."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from transforms.catalogue import (
    FEATURES,
    GROUPS,
    column_horizon_ns,
    feature_set,
    group_horizon_ns,
    normalised_warm_up_ns,
    set_horizon_ns,
)
from transforms.declaration import Feature
from transforms.normalisation import Normalisation
from transforms.rows import FeatureSet

NORMALISATIONS: Final = (
    Normalisation("mid_price", "z_score", 5),
    Normalisation("ofi_3s", "min_max", 60),
    Normalisation("volume_3s", "min_max", 60),
    Normalisation("open_interest", "z_score", 300),
    Normalisation("returns_1m", "z_score", 300),
    Normalisation("candle_2_is_green", "min_max", 60),
    Normalisation("position_size", "z_score", 5),
    Normalisation("time_of_day", "z_score", 5),
)
NORMALISATION_OF: Final = {column.name: column for column in NORMALISATIONS}


def every_feature() -> FeatureSet:
    """Every catalogued feature, and a normalised column of each group's kind."""
    return feature_set("9.9.9", list(FEATURES), NORMALISATIONS)


def sampled_features() -> FeatureSet:
    """For each inputs that the features of a group take the one that reaches furthest, and every normalised column.

    A kernel of them costs a fraction of the whole catalogue's.
    """
    furthest = {(f.group, f.inputs): f.name for f in sorted(FEATURES.values(), key=lambda f: f.horizon_ns)}
    normalised = [column.feature for column in NORMALISATIONS]
    return feature_set("9.9.9", list(dict.fromkeys([*furthest.values(), *normalised])), NORMALISATIONS)


def feature_of(column: str) -> Feature:
    """The feature that a column is or normalises."""
    normalised = NORMALISATION_OF.get(column)
    return FEATURES[column if normalised is None else normalised.feature]


def horizons_ns(chosen: FeatureSet) -> npt.NDArray[np.int64]:
    """Declared horizon by column."""
    return np.array([column_horizon_ns(chosen, column) for column in chosen.columns], np.int64)


def warm_ups_ns(chosen: FeatureSet) -> npt.NDArray[np.int64]:
    """History that a column needs before it has a value."""
    return np.array(
        [
            normalised_warm_up_ns(NORMALISATION_OF[column])
            if column in NORMALISATION_OF
            else FEATURES[column].warm_up_ns
            for column in chosen.columns
        ],
        np.int64,
    )


def status_horizons_ns(chosen: FeatureSet) -> npt.NDArray[np.int64]:
    """How far back the status of each group can see; that of the normalised columns is the worst of all."""
    return np.array(
        [group_horizon_ns(group.name) if group.name in GROUPS else set_horizon_ns(chosen) for group in chosen.groups],
        np.int64,
    )


def declared_range(column: str) -> tuple[float, float]:
    """The closed range of a column's values."""
    normalised = NORMALISATION_OF.get(column)
    if normalised is None:
        return FEATURES[column].low, FEATURES[column].high
    if normalised.method == "min_max":
        return 0.0, 1.0
    # One value apart from all others, of which a row between seconds has one more, is as far as any from their mean.
    furthest = math.sqrt(normalised.window_s) * (1 + 1e-12)
    return -furthest, furthest
