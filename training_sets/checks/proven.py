"""Proven rows: what a leakage check rebuilt and found right, kept for the next build on the same rows.

1. A proof is of one symbol, UTC date and feature set: rows that were rebuilt from their past alone, with the moment
   from which a model had each, and stretches of the feature log that were compared with raw data.
2. Its file is stored with the rows of its date and removed with them. The name holds a hash of everything that the
   proof depends on, code, libraries, files of the log and of raw data, and one of the content: after any change it
   is not found, or not trusted.
3. Rows get here by a draw among the same rows that knew nothing of them. To draw among them is as good as to draw
   again: what is in a file is compared with them bit by bit all the same.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, SECOND_NS, floor_to, utc_date
from storage.durable_files import open_staged
from storage.features.log import FeatureLog
from storage.places import Place, matching
from storage.raw.manifest import RawPart
from storage.raw.raw_data import RawData
from training_sets.provenance import code_digest, library_versions
from training_sets.rebuild.due_days import inputs_digest
from training_sets.rebuild.rebuild import start_before
from training_sets.samples.sampled_days import PROVEN, listed_partitions
from transforms.catalogue import set_horizon_ns, set_kinds
from transforms.rows import FeatureSet

MOST_ROWS: Final = 512
"""Of a symbol and date: those that were proven last."""
MOST_STRETCHES: Final = 64
MOST_PROOFS: Final = 8
"""Of a symbol's date: feature sets."""

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Day:
    """name: of its file, without the hash of the content. rows: by row time, since when it was had, and its values.

    stretches: [from, to] row times, and how many rows were compared in each.
    """

    name: str
    rows: dict[int, tuple[int, Float64s]] = field(default_factory=dict)
    stretches: list[tuple[int, int, int]] = field(default_factory=list)
    has_changed: bool = False


class ProvenRows:
    """The proofs of a feature set. raw: by symbol, what its rows are rebuilt from.

    drawn_among: what tells which rows there were to draw, as JSON has it: of others these are no random ones.
    """

    def __init__(
        self, log: FeatureLog, chosen: FeatureSet, raw: Mapping[str, RawData], drawn_among: tuple[Any, ...]
    ) -> None:
        self._log = log
        self._chosen = chosen
        self._raw = raw
        self._kinds, self._horizon_ns = set_kinds(chosen), set_horizon_ns(chosen)
        # With other lags other rows came too late, and rows were had at other moments.
        drawn_among = (*drawn_among, log.history_lags)
        self._made_by = (code_digest(), library_versions(), chosen.fingerprint, chosen.columns, drawn_among)
        self._days: dict[tuple[str, int], _Day] = {}
        # Listed once for all days, and once more when they are saved.
        self._parts: dict[str, list[RawPart]] = {}
        self._listed: dict[tuple[str, str, str], list[dict[str, Any]]] = {}

    def is_proven(self, symbol: str, row_ns: Int64s) -> npt.NDArray[np.bool_]:
        """Which rows of a symbol are, bool (n,)."""
        days = np.unique(row_ns // DAY_NS).tolist()
        proven = [at_ns for day in days for at_ns in self._day(symbol, day * DAY_NS).rows]
        return np.isin(row_ns, np.array(proven, np.int64))

    def row(self, symbol: str, row_ns: int) -> tuple[int, Float64s] | None:
        """Since when a model had a row, and its values, float64 (columns,); None of one that is not proven."""
        return self._day(symbol, row_ns).rows.get(row_ns)

    def rows_compared(self, symbol: str, from_ns: int, to_ns: int) -> int | None:
        """How many rows of the log in [from_ns, to_ns], of one date, were compared; None where not all were."""
        for begin_ns, end_ns, count in self._day(symbol, from_ns).stretches:
            if begin_ns <= from_ns and to_ns <= end_ns:
                whole = begin_ns == from_ns and to_ns == end_ns
                return count if whole else min(count, (to_ns - from_ns) // SECOND_NS + 1)
        return None

    def stretches(self, symbol: str, at_ns: int) -> list[tuple[int, int]]:
        """The first and the last row time of what was compared of a date."""
        return [(from_ns, to_ns) for from_ns, to_ns, _ in self._day(symbol, at_ns).stretches]

    def add_row(self, symbol: str, row_ns: int, had_ns: int, values: Float64s) -> None:
        """Take a row that was rebuilt and found right."""
        day = self._day(symbol, row_ns)
        if row_ns not in day.rows:
            day.rows[row_ns] = (had_ns, values.copy())
            day.has_changed = True
            if len(day.rows) > MOST_ROWS:
                del day.rows[next(iter(day.rows))]

    def add_stretch(self, symbol: str, from_ns: int, to_ns: int, rows: int) -> None:
        """Take a stretch of the log of one date that was compared whole."""
        day = self._day(symbol, from_ns)
        day.stretches = [*day.stretches, (from_ns, to_ns, rows)][-MOST_STRETCHES:]
        day.has_changed = True

    def save(self) -> None:
        """Keep what was added, but for days that changed meanwhile: for those it is unknown what was seen."""
        self._parts, self._listed = {}, {}
        for (symbol, day_ns), day in self._days.items():
            if day.has_changed and day.name == self._name(symbol, day_ns):
                self._write(symbol, day_ns, day)

    def _day(self, symbol: str, at_ns: int) -> _Day:
        day_ns = floor_to(at_ns, DAY_NS)
        if (symbol, day_ns) not in self._days:
            day = _Day(self._name(symbol, day_ns))
            self._read(symbol, day_ns, day)
            self._days[symbol, day_ns] = day
        return self._days[symbol, day_ns]

    def _read(self, symbol: str, day_ns: int, day: _Day) -> None:
        folder = self._folder(symbol, day_ns)
        for path in () if folder is None else _of_name(folder, day.name):
            content = path.read_bytes()
            if path.name != f"{day.name}-{_digest(content)}":
                continue
            with np.load(io.BytesIO(content), allow_pickle=False) as held:
                times_ns, values = held["times_ns"].tolist(), held["values"]
                day.stretches = [(int(a), int(b), int(c)) for a, b, c in held["stretches"].tolist()]
            day.rows = {at: (had, of_row) for (at, had), of_row in zip(times_ns, values, strict=True)}
            return

    def _write(self, symbol: str, day_ns: int, day: _Day) -> None:
        """Without waiting for the disk: what a crash leaves has not the hash of its name."""
        folder = self._folder(symbol, day_ns)
        if folder is None or not folder.is_dir():
            return
        buffer = io.BytesIO()
        np.savez(
            buffer,
            times_ns=np.array([(at, had) for at, (had, _) in day.rows.items()], np.int64).reshape(-1, 2),
            values=np.array([values for _, values in day.rows.values()]).reshape(-1, len(self._chosen.columns)),
            stretches=np.array(day.stretches, np.int64).reshape(-1, 3),
        )
        content = buffer.getvalue()
        before = _of_name(folder, day.name)
        staged, opened = open_staged(folder / day.name)
        with opened as file:
            file.write(content)
        path = folder / f"{day.name}-{_digest(content)}"
        staged.replace(path)
        for old in before:
            if old != path:
                old.unlink(missing_ok=True)
        proofs = sorted(matching(folder, f"{PROVEN}-*"), key=lambda each: each.stat().st_mtime_ns)
        for old in proofs[:-MOST_PROOFS]:
            old.unlink(missing_ok=True)

    def _name(self, symbol: str, day_ns: int) -> str:
        """The beginning of a file's name, with the hash of what the rows of a date are made of now.

        The first rows of the next date tell whether the last ones came too late.
        """
        dates = (utc_date(day_ns), utc_date(day_ns + DAY_NS))
        files = [
            entry
            for group in self._chosen.groups
            for date in dates
            for entry in listed_partitions(self._listed, self._log, group, symbol, date)
        ]
        return f"{PROVEN}-{_digest(msgspec.json.encode((self._made_by, files, self._raw_inputs(symbol, day_ns))))}"

    def _raw_inputs(self, symbol: str, day_ns: int) -> str:
        raw = self._raw[symbol]
        if symbol not in self._parts:
            self._parts[symbol] = [part for part in raw.parts(symbol) if part.files]
        parts = self._parts[symbol]
        if not parts:
            return ""
        first_ns = min(part.first_ns for part in parts)
        start_ns = start_before(raw, parts, self._kinds, day_ns - self._horizon_ns, first_ns)
        return inputs_digest(parts, self._kinds, start_ns, day_ns + DAY_NS)

    def _folder(self, symbol: str, day_ns: int) -> Path | None:
        """None in an object store, where no proofs are kept."""
        folder = self._log.of_date(self._chosen.groups[0], symbol, utc_date(day_ns))
        return folder if isinstance(folder, Path) else None


def _of_name(folder: Path, name: str) -> list[Place]:
    return [path for path in matching(folder, f"{PROVEN}-*") if path.name.startswith(f"{name}-")]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
