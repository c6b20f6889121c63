"""The fitted steps in front of a model, applied to history and to served vectors by the same function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from feature_client.datasets import check_vector
from feature_client.ordering import feature_matrix
from storage.online.vector import OnlineVector

if TYPE_CHECKING:
    import pandas as pd

    from training_sets.dataset.fitted import FittedSteps

Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Steps:
    """The fitted steps of a fold of a dataset.

    NaN: an unknown value stays unknown; a feature that train never knew becomes unknown. A value that an encoder has
    not seen is 0 in all its columns.
    """

    fitted: FittedSteps
    feature_registry_version: str
    feature_set: str

    @property
    def columns(self) -> list[str]:
        """The columns that ``apply`` returns, in order."""
        return self.fitted.outputs

    @overload
    def apply(self, features: pd.DataFrame) -> pd.DataFrame: ...
    @overload
    def apply(self, features: OnlineVector | Float64s) -> Float64s: ...
    def apply(self, features: pd.DataFrame | OnlineVector | Float64s) -> pd.DataFrame | Float64s:
        """Apply every step to features; the same values give the same bits, alone or in a batch.

        A frame is read by column name, ignoring other columns, and keeps its index; a vector gives float64 (columns,);
        numbers are float64 (n, features) or (features,), in the order of the dataset's ``feature_columns``.

        Raises ServedDifferently for a vector of another registry version or feature set, InvalidRequest for a frame
        that lacks a feature, or numbers of another shape.
        """
        if isinstance(features, OnlineVector):
            check_vector(features, feature_registry_version=self.feature_registry_version, feature_set=self.feature_set)
            answer = {name: [value] for name, value in zip(features.columns, features.values.tolist(), strict=True)}
            return self.fitted.apply(feature_matrix(answer, self.fitted.inputs)[0])
        if isinstance(features, np.ndarray):
            return self.fitted.apply(features)
        import pandas as pd

        values = feature_matrix({name: features[name].tolist() for name in features.columns}, self.fitted.inputs)
        return pd.DataFrame(self.fitted.apply(values), index=features.index, columns=self.columns)
