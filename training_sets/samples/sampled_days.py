"""Sampled days: what was retrieved for sparse samples of a symbol and UTC date, kept for the next build that asks.

1. A block is the samples on rows of one symbol, one interval and one UTC date. Each is what its row was known to be
   when it arrived, whatever else the request asks for.
2. A block's file is stored with the rows of its date and removed with them. Its name holds a hash of everything that
   the values follow from, and one of the values: after a change of either it is not found, or not believed.
3. Samples as dense as the rows are not kept: they would take as much room, and save little of the reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, SECOND_NS, utc_date
from storage.durable_files import known_sha256, open_staged
from storage.features.log import FeatureLog
from storage.instruments import checked_symbol
from storage.places import matching
from training_sets.provenance import code_digest, day_partitions, library_versions
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.known import NO_ROW, TOO_LATE, Known
from transforms.rows import FeatureGroup, FeatureSet

# A dot name: Feast and the feature log pass it over, and retention removes it with its day.
SAMPLED: Final = ".sampled"
PROVEN: Final = ".proven"
"""What the leakage check keeps of a day, see ``checks.proven``."""
LEAST_INTERVAL_NS: Final = 10 * SECOND_NS
MOST_BLOCKS: Final = 16
"""Of one symbol's date: intervals, feature sets and first or last days of a period."""

Int64s = npt.NDArray[np.int64]
_Listed = dict[tuple[str, str, str], list[dict[str, Any]]]
"""By group, symbol and date."""
Float64s = npt.NDArray[np.float64]


class SampledDays:
    """The blocks of a feature set at one interval.

    retrieve: gives what is known of ascending times, each on the row of its own time.
    """

    def __init__(
        self,
        log: FeatureLog,
        chosen: FeatureSet,
        symbols: Sequence[str],
        *,
        interval_ns: int,
        retrieve: Callable[[Int64s], Known],
    ) -> None:
        self._log = log
        self._chosen = chosen
        self._symbols = symbols
        self._interval_ns = interval_ns
        self._retrieve = retrieve
        lags = log.history_lags
        self._made_by = (code_digest(), library_versions(), chosen.fingerprint, chosen.columns, interval_ns, lags)

    def known(self, times_ns: Int64s) -> Known:
        """What ``retrieve`` gives: from blocks, and for the days that lack one from itself."""
        count = len(self._symbols)
        # Beside the features how long after its time each row arrived, ns; NaN for no row, -1 for one too late.
        held = np.empty((len(times_ns), count, len(self._chosen.columns) + 1))
        days = _by_day(times_ns)
        listed: _Listed = {}
        known = [self._read(times_ns[day], held[day], listed) for day in days]
        for is_known, following in groupby(zip(known, days, strict=True), key=lambda pair: all(pair[0])):
            if is_known:
                continue
            lacking = [day for _, day in following]
            stretch = slice(lacking[0].start, lacking[-1].stop)
            before = [self._names(times_ns[day], {}) for day in lacking]
            held[stretch] = _held(times_ns[stretch], self._retrieve(times_ns[stretch]), count)
            for day, names in zip(lacking, before, strict=True):
                # Rows that arrived during the read may or may not have been seen.
                if names == self._names(times_ns[day], {}):
                    self._write(names, times_ns[day], held[day])
        return _known(times_ns, held)

    def _read(self, times_ns: Int64s, held: Float64s, listed: _Listed) -> list[bool]:
        """Fill in the blocks of one day, (times, symbols, columns and arrival); which symbols have one."""
        return [
            self._read_block(symbol, name, times_ns, held[:, at])
            for at, (symbol, name) in enumerate(zip(self._symbols, self._names(times_ns, listed), strict=True))
        ]

    def _read_block(self, symbol: str, name: str, times_ns: Int64s, held: Float64s) -> bool:
        folder = self._folder(symbol, times_ns)
        for path in () if folder is None else matching(folder, f"{SAMPLED}-*"):
            if not path.name.startswith(f"{name}-"):
                continue
            if path.stat().st_size == held.size * held.itemsize and path.name == f"{name}-{known_sha256(path)[:32]}":
                held[:] = np.fromfile(path, np.float64).reshape(held.shape)
                return True
        return False

    def _write(self, names: Sequence[str], times_ns: Int64s, held: Float64s) -> None:
        """Without waiting for the disk: what a crash leaves has not the hash of its name."""
        for at, (symbol, name) in enumerate(zip(self._symbols, names, strict=True)):
            folder = self._folder(symbol, times_ns)
            if folder is None or not folder.is_dir():
                continue  # a day without rows
            content = np.ascontiguousarray(held[:, at]).tobytes()
            staged, opened = open_staged(folder / name)
            with opened as file:
                file.write(content)
            staged.replace(folder / f"{name}-{_digest(content)}")
            blocks = sorted(matching(folder, f"{SAMPLED}-*"), key=lambda path: path.stat().st_mtime_ns)
            for old in blocks[:-MOST_BLOCKS]:
                old.unlink(missing_ok=True)

    def _names(self, times_ns: Int64s, listed: _Listed) -> list[str]:
        """The beginning of each symbol's file name, with the hash of what its block of a day is made of now.

        listed: the files of dates, of this moment, which neighbours share.
        """
        first_ns, last_ns = int(times_ns[0]), int(times_ns[-1])
        return [
            f"{SAMPLED}-{_digest(msgspec.json.encode((self._made_by, first_ns, last_ns, files)))}"
            for symbol in self._symbols
            for files in [
                [
                    entry
                    for group in self._chosen.groups
                    for date in sorted({utc_date(first_ns), utc_date(last_ns + LONGEST_LAG_NS)})
                    for entry in listed_partitions(listed, self._log, group, symbol, date)
                ]
            ]
        ]

    def _folder(self, symbol: str, times_ns: Int64s) -> Path | None:
        """None in an object store, where a block would cost what sampling does."""
        folder = self._log.of_date(self._chosen.groups[0], symbol, utc_date(int(times_ns[0])))
        return folder if isinstance(folder, Path) else None


def listed_partitions(
    listed: _Listed, log: FeatureLog, group: FeatureGroup, symbol: str, date: str
) -> list[dict[str, Any]]:
    """``day_partitions``, looked for once in the life of ``listed``."""
    key = (group.name, symbol, date)
    if key not in listed:
        listed[key] = day_partitions(log, group, symbol, date)
    return listed[key]


def remove_sampled_days(log: FeatureLog, *, symbol: str | None, first_date: str | None, last_date: str | None) -> None:
    """Remove the blocks and proofs of a symbol, or of all, between two dates, both included; None is no bound."""
    named = "*" if symbol is None else checked_symbol(symbol)
    for kind in (SAMPLED, PROVEN):
        for path in matching(log.folder, f"*/*/symbol={named}/date=*/{kind}-*"):
            date = path.parent.name.removeprefix("date=")
            if (first_date is None or date >= first_date) and (last_date is None or date <= last_date):
                path.unlink(missing_ok=True)


def _held(times_ns: Int64s, known: Known, count: int) -> Float64s:
    lag = np.where(known.has_row, known.had_ns - np.repeat(times_ns, count), -1.0)
    lag[known.row_ns == NO_ROW] = np.nan
    return np.column_stack([known.features, lag]).reshape(len(times_ns), count, -1)


def _known(times_ns: Int64s, held: Float64s) -> Known:
    rows = held.reshape(-1, held.shape[2])
    each_ns = np.repeat(times_ns, held.shape[1])
    lag = rows[:, -1]
    row_ns = np.where(np.isnan(lag), NO_ROW, np.where(lag < 0, TOO_LATE, each_ns))
    had_ns = each_ns + np.where(row_ns >= 0, lag, 0.0).astype(np.int64)
    return Known(np.ascontiguousarray(rows[:, :-1]), row_ns, had_ns)


def _by_day(times_ns: Int64s) -> list[slice]:
    """Where each UTC date begins and ends among ascending times."""
    cuts = np.flatnonzero(np.diff(times_ns // DAY_NS)) + 1
    edges = [0, *cuts.tolist(), len(times_ns)]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
