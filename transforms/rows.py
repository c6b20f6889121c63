"""Feature rows and the feature set that names their columns: what the engine hands to every store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # who reads rows needs no kernel, whose compiler takes seconds to import
    from transforms.normalisation import Normalisation


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """The columns of a feature set that share one raw source, one Feast view and one fingerprint."""

    name: str
    fingerprint: str
    columns: tuple[str, ...]
    indices: tuple[int, ...]
    """Where those columns stand in the set's rows."""


@dataclass(frozen=True)
class FeatureSet:
    """The columns of one registry version, in its order, with their groups and their common identity."""

    version: str
    columns: tuple[str, ...]
    groups: tuple[FeatureGroup, ...]
    fingerprint: str
    normalisations: tuple[Normalisation, ...] = ()
    """The last columns, in order; they form the last group."""

    @cached_property
    def group_of(self) -> dict[str, int]:
        """Index into ``groups`` by column name."""
        return {column: index for index, group in enumerate(self.groups) for column in group.columns}


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Rows of one symbol.

    row_ns: int64 (n,), row times, ascending ticks of the row grid; ``row_ns % SECOND_NS`` tells those between seconds.
    values: float64 (n, columns of the set); NaN is "not known".
    status: int8 (n, groups of the set); values of ``transforms.status``.
    reasons: int8 (n, columns of the set), why each NaN is unknown and OK elsewhere; None for rows read from a store.
    """

    symbol: str
    feature_set: FeatureSet
    row_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    status: npt.NDArray[np.int8]
    reasons: npt.NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.row_ns)
