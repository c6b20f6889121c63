"""Feature rows and the feature set that names their columns: what the engine hands to every store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from market.clock import SECOND_NS

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

    def __hash__(self) -> int:
        """Of what names it: of all its columns it took 9 us, a fourth of what keeping a row in the log cost."""
        return hash((self.version, self.fingerprint))

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

    def at_seconds(self) -> list[int]:
        """Positions of the rows at whole seconds."""
        # Of one row, as it comes live, this takes a fourth of the time of an array.
        return [at for at, row_ns in enumerate(self.row_ns.tolist()) if row_ns % SECOND_NS == 0]

    def only(self, chosen: slice | npt.NDArray[Any], *, reasons: bool = True) -> FeatureRows:
        """Those at the positions, or where the mask is true; a slice gives views. reasons: whether with theirs."""
        return FeatureRows(
            self.symbol,
            self.feature_set,
            self.row_ns[chosen],
            self.values[chosen],
            self.status[chosen],
            self.reasons[chosen] if reasons and self.reasons is not None else None,
        )


def joined_rows(pieces: Sequence[FeatureRows], *, reasons: bool = False) -> FeatureRows:
    """Consecutive pieces, one at least, as one. reasons: with theirs, which every piece must have then."""
    first = pieces[0]
    held = [piece.reasons for piece in pieces if piece.reasons is not None] if reasons else []
    assert not reasons or len(held) == len(pieces), "each piece has its reasons"
    return FeatureRows(
        first.symbol,
        first.feature_set,
        np.concatenate([piece.row_ns for piece in pieces]),
        np.concatenate([piece.values for piece in pieces]),
        np.concatenate([piece.status for piece in pieces]),
        np.concatenate(held) if reasons else None,
    )
