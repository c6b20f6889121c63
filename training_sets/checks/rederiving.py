"""Rederiving: the inputs of drawn rows, made again of the feature log, of which nothing after the row is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from market.clock import DAY_NS, format_iso
from market.errors import InvalidRequest
from training_sets.checks.blinding import Origin
from training_sets.checks.drawn import Drawn
from training_sets.request.request import DatasetRequest
from training_sets.samples.inputs import ModelInputs, only_column
from training_sets.samples.known import Known, arrivals


def check_inputs(rows: Sequence[Drawn], request: DatasetRequest, origin: Origin) -> int:
    """How many values were made again, each row alone. Raises InvalidRequest with the first that differs.

    rows: their values are the features, then the inputs.
    """
    names = request.input_names
    if not names:
        return 0
    inputs = ModelInputs(request, origin.chosen, origin.log)
    first = len(origin.features.columns)
    for row, known in _known_at(rows, request, origin):
        time_ns = np.array([row.time_ns], np.int64)
        made = inputs.of(time_ns, known, known.had_ns + request.read_delay_ns, wanted=(row.symbol,))
        again = made[request.symbols.index(row.symbol)]
        written = row.values[first : first + len(names)]
        for name, value, held in zip(names, again.tolist(), written.tolist(), strict=True):
            if value != held and not (np.isnan(value) and np.isnan(held)):
                raise InvalidRequest(
                    f"leakage: {name} of {row.symbol} at {format_iso(row.time_ns)} in {row.file} must be what the rows "
                    f"up to then give, {value!r}, was {held!r}"
                )
    return len(rows) * len(names)


def _known_at(rows: Sequence[Drawn], request: DatasetRequest, origin: Origin) -> Iterator[tuple[Drawn, Known]]:
    """Each row with the rows of all symbols at its time, by the columns that inputs are made of; a day is read once."""
    chosen = origin.chosen
    columns = dict.fromkeys(each.column for each in request.derived or ())
    for _, of_day in groupby(sorted(rows, key=lambda row: row.time_ns), key=lambda row: row.time_ns // DAY_NS):
        drawn = list(of_day)
        times_ns = np.unique([row.time_ns for row in drawn])
        features = np.full((len(times_ns), len(request.symbols), len(chosen.columns)), np.nan)
        row_ns, had_ns = np.empty((2, len(times_ns), len(request.symbols)), np.int64)
        for at, symbol in enumerate(request.symbols):
            row_ns[:, at], had_ns[:, at] = arrivals(origin.log, chosen, symbol, times_ns)
            for column in columns if (row_ns[:, at] >= 0).any() else ():
                one = only_column(chosen, column)
                logged, _ = origin.log.read(symbol, one, from_ns=int(times_ns[0]), to_ns=int(times_ns[-1]) + 1)
                _, own, theirs = np.intersect1d(times_ns, logged.row_ns, return_indices=True)
                features[own, at, chosen.columns.index(column)] = logged.values[theirs, 0]
        for row in drawn:
            at = int(np.searchsorted(times_ns, row.time_ns))
            yield row, Known(features[at], row_ns[at], had_ns[at])
