"""The files of one fold: open from their first row to the last that a period can hold.

Where rows are weighed, a file is written twice: what a row weighs follows from the labels of all rows of its split.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training_sets.checks.drawn import WrittenFile, stratum_ns
from training_sets.checks.inspection import dataset_schema
from training_sets.dataset.files import SUFFIX, SplitFile, fold_name
from training_sets.request.folds import Fold, PurgedCombinations, covered, path_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.weighting import COLUMNS
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.label_spans import Weigher, WeightTally
from training_sets.samples.piece import Samples

_PIECE_ROWS = 20_000


class FoldFiles:
    """A file of each split, closed by ``stack`` at the latest. weigher: None weighs no row."""

    def __init__(
        self,
        request: DatasetRequest,
        features: DatasetFeatures,
        fold: Fold,
        *,
        folder: Path,
        stack: ExitStack,
        weigher: Weigher | None = None,
    ) -> None:
        self._symbols = request.symbols
        self._fold = fold
        self._paths = None
        if isinstance(request.strategy, PurgedCombinations) and fold.number is not None:
            self._paths = path_periods(request.strategy, fold.number)
        self.schema = dataset_schema(request, features)
        self._folder = folder if fold.number is None else folder / fold_name(fold.number)
        self._format = request.output_format
        self._weigher = weigher
        self._spans: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in fold.names}
        self._rows: dict[str, Counter[tuple[str, int]]] = {name: Counter() for name in fold.names}
        self._stratum_ns = stratum_ns(covered(request.folds()))
        self._first_schema = self.schema
        if weigher is not None:
            for column in COLUMNS:
                self._first_schema = self._first_schema.remove(self._first_schema.get_field_index(column))
        self._files = {name: self._open(name) for name in fold.names}
        for file in self._files.values():
            stack.callback(file.close)

    def write(self, piece: Samples, period: np.ndarray[Any, Any], is_kept: np.ndarray[Any, Any]) -> None:
        for name, file in self._files.items():
            periods = [at for at, each in enumerate(self._fold.periods) if each.name == name]
            rows = np.flatnonzero(is_kept & np.isin(period, periods))
            if len(rows) > 0:
                file.write(piece.table(rows, self._symbols, self._first_schema, self._fold.number, self._paths))
                for (symbol, at), count in piece.rows_of_stretches(rows, self._stratum_ns).items():
                    self._rows[name][self._symbols[symbol], at] += count
                if self._weigher is not None:
                    self._spans[name].append(self._weigher.spans(piece, rows))
        if len(piece) > 0:
            for period_ in self._fold.periods:
                # A later piece cannot hold rows of a period that is over; a name that comes again is kept open.
                if period_.end_ns <= piece.times_ns[-1] and period_ is self._last(period_.name):
                    self._files[period_.name].close()

    def finish(self) -> tuple[list[WrittenFile], dict[str, dict[str, Any]]]:
        """Weigh the rows and give the files their names; what the weights of each split are, where there are any.

        Raises InvalidRequest when nothing has a weight.
        """
        weighed: dict[str, dict[str, Any]] = {}
        for name, file in self._files.items():
            file.finish()
            if self._weigher is not None:
                self._files[name], weighed[name] = self._weigh(name, file, self._weigher)
        prefix = "" if self._fold.number is None else f"{self._folder.name}/"
        return [
            WrittenFile(f"{prefix}{name}", file.path, self._rows[name], self._format)
            for name, file in self._files.items()
        ], weighed

    def remove(self) -> None:
        for file in self._files.values():
            file.remove()

    def _open(self, name: str) -> SplitFile:
        if self._weigher is not None:
            return SplitFile(self._folder / f".unweighed-{name}.parquet", self._first_schema, "parquet")
        return self._opened(name)

    def _opened(self, name: str) -> SplitFile:
        return SplitFile(self._folder / f"{name}{SUFFIX[self._format]}", self.schema, self._format)

    def _weigh(self, name: str, file: SplitFile, weigher: Weigher) -> tuple[SplitFile, dict[str, Any]]:
        """Write the rows of a file again, with what each weighs."""
        spans = np.concatenate([np.empty((3, 0), np.int64), *self._spans.pop(name)], axis=1)
        weights, unknown = weigher.weights(spans)
        final = self._opened(name)
        begin = 0
        try:
            with pq.ParquetFile(file.path) as unweighed:
                for batch in unweighed.iter_batches(_PIECE_ROWS):
                    own = weights[begin : begin + batch.num_rows]
                    added = {column: pa.array(np.ascontiguousarray(own[:, at])) for at, column in enumerate(COLUMNS)}
                    held = {column: batch.column(column) for column in batch.schema.names}
                    final.write(pa.table([(held | added)[each] for each in self.schema.names], schema=self.schema))
                    begin += batch.num_rows
            final.finish()
        except BaseException:
            final.remove()
            raise
        file.path.unlink()
        return final, WeightTally(weights, unknown).document()

    def _last(self, name: str) -> object:
        return [period for period in self._fold.periods if period.name == name][-1]
