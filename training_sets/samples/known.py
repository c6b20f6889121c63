"""What is known at a sample: the features that a model acts on, and the moment from which it has them.

On a row, the model acts when row ``t`` arrives: the features are those of row ``t``, and it has them when that row can
be read. A row that can be read only when a newer one can, or later than the time to live of the views, is acted on by
it: it came too late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from market.clock import MILLISECOND_NS, SECOND_NS
from storage.features.log import FeatureLog
from storage.features.part_times import stated_ns
from storage.features.row_times import read_row_times
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.lagged_rows import rows_as_of
from transforms.rows import FeatureSet

if TYPE_CHECKING:
    from feature_repo.store import FeatureStore

NO_ROW: Final = -1
TOO_LATE: Final = -2
"""In the place of a row's time: there is none, or none that came in time to be acted on."""

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of each symbol at each of some times, the symbols in order within each time.

    features: float64 (times x symbols, columns), NaN where there is no row. row_ns: int64 (times x symbols,), the row
    or tick that the features are of, NO_ROW or TOO_LATE. had_ns: int64 (times x symbols,), when the model has them; its
    time where there is no row.
    """

    features: Float64s
    row_ns: Int64s
    had_ns: Int64s

    @property
    def has_row(self) -> npt.NDArray[np.bool_]:
        return self.row_ns >= 0


@dataclass(frozen=True, slots=True)
class Retrieval:
    """known: what is known at ascending times. document: what of it the manifest states, once all was retrieved."""

    known: Callable[[Int64s], Known]
    document: Callable[[], dict[str, Any]]


class RowsOnArrival:
    """The rows of the sample times themselves, as they were known at the moment at which each arrived.

    They are retrieved through Feast, which open_store opens; of a log with history lags by ``rows_as_of``.
    """

    def __init__(
        self, open_store: Callable[[], FeatureStore], chosen: FeatureSet, symbols: Sequence[str], log: FeatureLog
    ) -> None:
        self._store = open_store() if log.history_lags is None else None
        self._chosen = chosen
        self._symbols = symbols
        self._log = log

    def known(self, times_ns: Int64s) -> Known:
        """Of ascending times, one at least."""
        count = len(self._symbols)
        had_ns = np.empty((len(times_ns), count), np.int64)
        row_ns = np.empty((len(times_ns), count), np.int64)
        for at, symbol in enumerate(self._symbols):
            row_ns[:, at], had_ns[:, at] = arrivals(self._log, self._chosen, symbol, times_ns)
        features = np.full((len(times_ns) * count, len(self._chosen.columns)), np.nan)
        if self._store is not None:
            self._retrieve(self._store, row_ns.reshape(-1), had_ns.reshape(-1), features)
        else:
            for at, symbol in enumerate(self._symbols):
                has_row = row_ns[:, at] >= 0
                of_rows = rows_as_of(self._log, self._chosen, symbol, times_ns[has_row], had_ns[has_row, at])
                features[at::count][has_row] = of_rows
        return Known(features, row_ns.reshape(-1), had_ns.reshape(-1))

    def _retrieve(self, store: FeatureStore, row_ns: Int64s, had_ns: Int64s, features: Float64s) -> None:
        """Fill in what Feast answers for the samples that have a row."""
        from feature_repo.store import retrieve

        rows = np.flatnonzero(row_ns >= 0)
        if len(rows) > 0:
            symbols = np.tile(np.array(self._symbols, object), len(row_ns) // len(self._symbols))
            # Feast goes by the created time, which is up to a microsecond after the exact one.
            moments = pd.to_datetime(stated_ns(had_ns[rows]), utc=True)
            entities = pd.DataFrame({"symbol": symbols[rows], "event_timestamp": moments})
            features[rows] = retrieve(store, self._chosen, entities)[list(self._chosen.columns)]


def arrivals(log: FeatureLog, chosen: FeatureSet, symbol: str, times_ns: Int64s) -> tuple[Int64s, Int64s]:
    """``row_ns`` and ``had_ns`` of one symbol, on the rows of ascending times."""
    # What makes a row late is within LONGEST_LAG_NS after it: how the times are cut into calls changes nothing.
    from_ns, to_ns = int(times_ns[0]), int(times_ns[-1]) + LONGEST_LAG_NS
    times = read_row_times(log, symbol, chosen, from_ns=from_ns, to_ns=to_ns)
    row_ns, available_ns = times.row_ns, times.available_ns
    if len(row_ns) == 0:
        return np.full(len(times_ns), NO_ROW), times_ns.copy()
    is_row_late = came_too_late(row_ns, available_ns, times.first_ns)
    if is_row_late.any():
        # A row that was revised later is had as it was known first.
        available_ns = np.where(is_row_late, times.first_ns, available_ns)
        is_row_late = came_too_late(row_ns, available_ns, times.first_ns)
    at = np.minimum(np.searchsorted(row_ns, times_ns), len(row_ns) - 1)
    is_late = is_row_late[at]
    found_ns = np.where(row_ns[at] != times_ns, NO_ROW, np.where(is_late, TOO_LATE, times_ns))
    return found_ns, np.where(found_ns >= 0, available_ns[at], times_ns)


class Lags:
    """How long after its time each sample was had: the least, the mean and the most of any number of pieces."""

    def __init__(self) -> None:
        self._count = self._total_ns = self._most_ns = 0
        self._least_ns: int | None = None

    def add(self, lags_ns: Int64s) -> None:
        """Take those of a piece, int64 (n,)."""
        if len(lags_ns) > 0:
            self._count += len(lags_ns)
            self._total_ns += int(lags_ns.sum())
            least_ns, most_ns = int(lags_ns.min()), int(lags_ns.max())
            self._least_ns = least_ns if self._least_ns is None else min(self._least_ns, least_ns)
            self._most_ns = max(self._most_ns, most_ns)

    def document(self) -> dict[str, float] | None:
        """In milliseconds; None without a sample."""
        if self._least_ns is None:
            return None
        milliseconds = (self._least_ns, self._total_ns / self._count, self._most_ns)
        return {name: each / MILLISECOND_NS for name, each in zip(("least", "mean", "most"), milliseconds, strict=True)}


def came_too_late(row_ns: Int64s, available_ns: Int64s, first_ns: Int64s) -> npt.NDArray[np.bool_]:
    """Whether each row could be read only when a newer one could, or LONGEST_LAG_NS after its time.

    row_ns: int64 (n,), ascending, each once. available_ns: when each could be read. first_ns: when it first could, in
    whatever version, from when on it is acted on in place of an older one. Returns bool (n,).
    """
    is_late: npt.NDArray[np.bool_] = available_ns > row_ns + LONGEST_LAG_NS
    suspects = np.flatnonzero(~is_late & (available_ns >= row_ns + SECOND_NS))
    for ahead in range(1, LONGEST_LAG_NS // SECOND_NS + 1):
        suspects = suspects[(suspects + ahead < len(row_ns)) & ~is_late[suspects]]
        if len(suspects) == 0:
            break
        newer = suspects + ahead
        is_newer_known = (row_ns[newer] <= available_ns[suspects]) & (first_ns[newer] <= available_ns[suspects])
        is_late[suspects[is_newer_known]] = True
    return is_late
