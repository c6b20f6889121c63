"""Any response with features by name, as rows of numbers in the model's own order.

The column order of Feast's responses differs from process to process, so never take a vector in listed order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest


def feature_matrix(answer: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> npt.NDArray[np.float64]:
    """float64 (rows, columns) in the order of ``columns``; null becomes NaN.

    answer: values by name, of equal length, as from our ``to_dict()`` or Feast's, or a frame. A name may
    be that of the feature alone, ``view:feature`` or ``view__feature``, in the answer and in ``columns``.

    Raises InvalidRequest for a column that the answer does not have, or has twice.
    """
    held: dict[str, list[str]] = {}
    for name in answer:
        for spelled in {name, _feature(name)}:
            held.setdefault(spelled, []).append(name)
    matrix = []
    for column in columns:
        spellings = (column, column.replace("__", ":", 1), column.replace(":", "__", 1))
        exact = next((each for each in spellings if each in answer), None)
        names = [exact] if exact is not None else held.get(column) or held.get(_feature(column), [])
        if len(names) != 1:
            raise InvalidRequest(f"{column}: must be in the answer once, was as {names or list(answer)}")
        matrix.append([np.nan if value is None else value for value in answer[names[0]]])
    return np.array(matrix, np.float64).T


def _feature(name: str) -> str:
    """The feature of ``view:feature`` or ``view__feature``."""
    if ":" in name:
        return name.rpartition(":")[2]
    return name.partition("__")[2] or name
