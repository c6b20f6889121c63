"""Target tally: what the labels of a split are, counted over any number of pieces after purge and embargo."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from training_sets.request.targets import Target, classes

Float64s = npt.NDArray[np.float64]


class TargetTally:
    """The labels of one target and split: how many, their mean, deviation, least and greatest, and their classes."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.least, self.greatest = math.inf, -math.inf
        self.rows = 0
        self._mean = self._squares = 0.0
        self._labels = classes(target)
        self._of_class = dict.fromkeys(self._labels, 0)

    def add(self, labels: Float64s) -> None:
        """Take labels, float64 (n,), none of them NaN."""
        if len(labels) == 0:
            return
        self.least, self.greatest = min(self.least, float(labels.min())), max(self.greatest, float(labels.max()))
        for name, label in self._labels.items():
            self._of_class[name] += int(np.count_nonzero(labels == label))
        # Two tallies as one: sums of squares of whole columns cancel.
        mean, squares = float(labels.mean()), float(np.square(labels - labels.mean()).sum())
        apart, rows = mean - self._mean, self.rows + len(labels)
        self._squares += squares + apart * apart * self.rows * len(labels) / rows
        self._mean += apart * len(labels) / rows
        self.rows = rows

    @property
    def is_constant(self) -> bool:
        """Whether there is nothing to learn: rows, and all of one label."""
        return self.rows > 0 and self.least == self.greatest

    def document(self) -> dict[str, Any]:
        """As JSON; what does not exist is null. ``classes`` are shares, of a target that has them."""
        is_known = self.rows > 0 and math.isfinite(self._mean) and math.isfinite(self._squares)
        document: dict[str, Any] = {
            "mean": self._mean if is_known else None,
            "deviation": math.sqrt(self._squares / self.rows) if is_known else None,
            "least": self.least if is_known else None,
            "greatest": self.greatest if is_known else None,
        }
        if self._labels:
            document["classes"] = {name: count / max(self.rows, 1) for name, count in self._of_class.items()}
        return document
