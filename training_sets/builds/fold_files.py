"""The files of one fold: open from their first row to the last that a period can hold."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from training_sets.checks.drawn import WrittenFile
from training_sets.checks.inspection import dataset_schema
from training_sets.dataset.files import SUFFIX, SplitFile, fold_name
from training_sets.request.folds import Fold
from training_sets.request.request import DatasetRequest
from training_sets.samples.samples import Samples
from transforms.rows import FeatureSet


class FoldFiles:
    """A file of each split, closed by ``stack`` at the latest."""

    def __init__(
        self, request: DatasetRequest, chosen: FeatureSet, fold: Fold, *, folder: Path, stack: ExitStack
    ) -> None:
        self._symbols = request.symbols
        self._fold = fold
        self.schema = dataset_schema(request, chosen)
        self._folder = folder if fold.number is None else folder / fold_name(fold.number)
        self._format = request.output_format
        suffix = SUFFIX[self._format]
        self._files = {
            name: SplitFile(self._folder / f"{name}{suffix}", self.schema, request.output_format) for name in fold.names
        }
        for file in self._files.values():
            stack.callback(file.close)

    def write(self, piece: Samples, period: np.ndarray[Any, Any], is_kept: np.ndarray[Any, Any]) -> None:
        for name, file in self._files.items():
            periods = [at for at, each in enumerate(self._fold.periods) if each.name == name]
            rows = np.flatnonzero(is_kept & np.isin(period, periods))
            if len(rows) > 0:
                file.write(piece.table(rows, self._symbols, self.schema, self._fold.number))
        if len(piece) > 0:
            for period_ in self._fold.periods:
                # A later piece cannot hold rows of a period that is over; a name that comes again is kept open.
                if period_.end_ns <= piece.times_ns[-1] and period_ is self._last(period_.name):
                    self._files[period_.name].close()

    def finish(self, records: Mapping[str, int]) -> list[WrittenFile]:
        """Give the files their names; records: how many rows each split has."""
        prefix = "" if self._fold.number is None else f"{self._folder.name}/"
        for file in self._files.values():
            file.finish()
        return [
            WrittenFile(f"{prefix}{name}", file.path, records[name], self._format) for name, file in self._files.items()
        ]

    def remove(self) -> None:
        for file in self._files.values():
            file.remove()

    def _last(self, name: str) -> object:
        return [period for period in self._fold.periods if period.name == name][-1]
