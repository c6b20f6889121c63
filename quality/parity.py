"""Parity: rows as they were served against the same rows rebuilt, by bits, and against the oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from market.clock import format_iso
from transforms.rows import FeatureRows
from transforms.status import QUARANTINED, STATUS_NAMES

WHOLE_ROW: Final = "the row"
"""Stands for the feature where one side has no row."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place where served and rebuilt rows differ; ``served`` and ``rebuilt`` are the values as text.

    feature: a column, the status of a group, or WHOLE_ROW.
    """

    symbol: str
    row_ns: int
    feature: str
    served: str
    rebuilt: str

    def __str__(self) -> str:
        return f"{self.symbol} {format_iso(self.row_ns)} {self.feature}: served {self.served}, rebuilt {self.rebuilt}"


@dataclass(frozen=True, slots=True)
class OracleMismatch:
    """A served value that is not what the formula says; ``served`` and ``exact`` are the values as text.

    feature: a column, or the status of a group.
    """

    symbol: str
    row_ns: int
    feature: str
    served: str
    exact: str

    def __str__(self) -> str:
        return f"{self.symbol} {format_iso(self.row_ns)} {self.feature}: served {self.served}, exactly {self.exact}"


@dataclass(frozen=True, slots=True)
class OracleCheck:
    """Drawn served rows against the oracle.

    rows: how many were checked, in each of them the ``columns``. mismatched: in order of symbol and row. not_checked:
    what could not be, or what the oracle has no formula of, each with the reason.
    """

    rows: int = 0
    columns: int = 0
    mismatched: tuple[OracleMismatch, ...] = ()
    not_checked: tuple[str, ...] = ()

    def __add__(self, other: OracleCheck) -> OracleCheck:
        return OracleCheck(
            self.rows + other.rows,
            max(self.columns, other.columns),
            self.mismatched + other.mismatched,
            tuple(dict.fromkeys(self.not_checked + other.not_checked)),
        )


@dataclass(frozen=True, slots=True)
class Parity:
    """Counts of rows. mismatched: in both with other bits; missing: rebuilt only; extra: served only.

    ticks_recorded: rows that readers were given, at ticks of the grid too, whose digest the worker recorded. Of these
    ticks_compared were computed again, and ticks_mismatched had another digest then.
    quarantined: rows of which a group was withheld from readers; the others are compared.
    not_compared: each symbol whose served rows could not be compared at all, with the reason.
    oracle: drawn rows against the formulas; the rest is of the kernel against itself.
    """

    compared: int = 0
    mismatched: int = 0
    missing: int = 0
    extra: int = 0
    first_divergence: Divergence | None = None
    not_compared: tuple[str, ...] = ()
    ticks_recorded: int = 0
    ticks_compared: int = 0
    ticks_mismatched: int = 0
    quarantined: int = 0
    oracle: OracleCheck = field(default_factory=OracleCheck)

    @property
    def is_exact(self) -> bool:
        differing = self.mismatched + self.missing + self.extra + self.ticks_mismatched + len(self.oracle.mismatched)
        return self.compared > 0 and differing == 0 and not self.not_compared

    def __add__(self, other: Parity) -> Parity:
        return Parity(
            self.compared + other.compared,
            self.mismatched + other.mismatched,
            self.missing + other.missing,
            self.extra + other.extra,
            self.first_divergence or other.first_divergence,
            self.not_compared + other.not_compared,
            self.ticks_recorded + other.ticks_recorded,
            self.ticks_compared + other.ticks_compared,
            self.ticks_mismatched + other.ticks_mismatched,
            self.quarantined + other.quarantined,
            self.oracle + other.oracle,
        )


def compare_rows(served: FeatureRows, rebuilt: FeatureRows) -> Parity:
    """Compare two runs of one symbol and feature set: every value's bits and every group's status.

    A group that was withheld from readers is not compared.
    """
    if np.array_equal(served.row_ns, rebuilt.row_ns):
        in_served = in_rebuilt = np.arange(len(served.row_ns))
        ours, theirs = served, rebuilt  # nothing is copied
    else:
        _, in_served, in_rebuilt = np.intersect1d(
            served.row_ns, rebuilt.row_ns, assume_unique=True, return_indices=True
        )
        ours, theirs = (rows.only(at, reasons=False) for rows, at in ((served, in_served), (rebuilt, in_rebuilt)))
    served_bits = np.ascontiguousarray(ours.values).view(np.int64)
    rebuilt_bits = np.ascontiguousarray(theirs.values).view(np.int64)
    differs = np.concatenate([served_bits != rebuilt_bits, ours.status != theirs.status], 1)
    is_withheld = ours.status == QUARANTINED
    for number, group in enumerate(served.feature_set.groups if is_withheld.any() else ()):
        of_group = np.array([*group.indices, len(served.feature_set.columns) + number])
        differs[np.flatnonzero(is_withheld[:, number])[:, np.newaxis], of_group] = False
    rows = np.flatnonzero(differs.any(axis=1))
    found = [
        Divergence(served.symbol, int(alone[0]), WHOLE_ROW, *sides)
        for alone, sides in (
            (np.delete(rebuilt.row_ns, in_rebuilt), ("absent", "present")),
            (np.delete(served.row_ns, in_served), ("present", "absent")),
        )
        if len(alone) > 0
    ]
    if len(rows) > 0:
        row = int(rows[0])
        found.append(
            _divergence(
                served, rebuilt, int(in_served[row]), int(in_rebuilt[row]), int(np.flatnonzero(differs[row])[0])
            )
        )
    return Parity(
        compared=len(in_served),
        mismatched=len(rows),
        missing=len(rebuilt) - len(in_rebuilt),
        extra=len(served) - len(in_served),
        quarantined=int(is_withheld.any(axis=1).sum()),
        first_divergence=min(found, key=lambda divergence: divergence.row_ns, default=None),
    )


def _divergence(served: FeatureRows, rebuilt: FeatureRows, at: int, against: int, column: int) -> Divergence:
    columns = served.feature_set.columns
    if column < len(columns):
        name = columns[column]
        values = repr(float(served.values[at, column])), repr(float(rebuilt.values[against, column]))
    else:
        group = column - len(columns)
        name = f"status of {served.feature_set.groups[group].name}"
        values = STATUS_NAMES[served.status[at, group]], STATUS_NAMES[rebuilt.status[against, group]]
    return Divergence(served.symbol, int(served.row_ns[at]), name, *values)
