"""Rows of shadow parity: as readers had them, side by side for the comparison, and as an engine gave them, joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from quality.shadow import UNKNOWN_REASON, ServedBlock
from storage.online.vector import OnlineVector
from transforms.rows import FeatureSet
from transforms.status import REASON_NAMES

_REASONS: Final = {name: number for number, name in enumerate(REASON_NAMES)}


@dataclass(frozen=True, slots=True)
class ShadowRow:
    """A row that was found. where: in what. came_s: when, in seconds that never step back."""

    vector: OnlineVector
    where: str
    came_s: float


class ServedBlocks:
    """Makes blocks of the rows of one feature set."""

    def __init__(self, feature_set: FeatureSet) -> None:
        self._groups = [group.name for group in feature_set.groups]
        self._place = {name: at for at, name in enumerate(feature_set.columns)}

    def of(self, rows: Sequence[ShadowRow]) -> ServedBlock:
        """The rows, at least one, which have the set's columns in its order."""
        vectors = [row.vector for row in rows]
        reasons = np.zeros((len(rows), len(self._place)), np.int8)
        for at, vector in enumerate(vectors):
            if at > 0 and vector.missing == vectors[at - 1].missing:
                reasons[at] = reasons[at - 1]  # as mostly: name by name it was a quarter of what a look costs
                continue
            for name, reason in vector.missing.items():
                place = self._place.get(name)
                if place is not None:
                    reasons[at, place] = _REASONS.get(reason, UNKNOWN_REASON)
        return ServedBlock(
            np.array([vector.row_ns for vector in vectors], np.int64),
            np.stack([vector.values for vector in vectors]),
            np.array([[vector.statuses.get(name, -1) for name in self._groups] for vector in vectors], np.int8),
            reasons,
            tuple(row.where for row in rows),
        )


def row_order(vector: OnlineVector) -> tuple[int, int]:
    """The greater row is the newer one."""
    return vector.row_ns, vector.available_ns


def same_row(left: OnlineVector, right: OnlineVector) -> bool:
    """Whether two rows have the same bits, statuses and reasons."""
    return (
        left.values.tobytes() == right.values.tobytes()
        and left.statuses == right.statuses
        and left.missing == right.missing
        and left.columns == right.columns
    )
