"""Shadow parity: served rows against the same rows computed from the tape, by bits: values, statuses and reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from transforms.rows import FeatureRows
from transforms.status import QUARANTINED, REASON_NAMES

UNKNOWN_REASON = -1
"""A reason that has no number: it equals none."""


@dataclass(frozen=True, slots=True)
class ServedBlock:
    """Rows as readers had them, in any order, a row time as often as it was found somewhere.

    row_ns: int64 (n,). values: float64 (n, columns). status: int8 (n, groups). reasons: int8 (n, columns), OK where a
    value is known. where: of each row, where it was found.
    """

    row_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    status: npt.NDArray[np.int8]
    reasons: npt.NDArray[np.int8]
    where: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row_ns)


@dataclass(frozen=True, slots=True)
class ShadowMismatch:
    """The first feature of a group that was served as something else than the tape gives.

    feature: a column, or the status of the group. served, computed: the values as text, with the reason where there is
    none. rows: of how many rows of the look the group differed.
    """

    symbol: str
    row_ns: int
    group: str
    feature: str
    served: str
    computed: str
    where: str
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.symbol} {format_iso(self.row_ns)} {self.feature} of {self.group} in {self.where}: "
            f"served {self.served}, the tape gives {self.computed}"
        )


@dataclass(frozen=True, slots=True)
class ShadowParity:
    """The result of checking a symbol's rows. quarantined: rows with a group that was withheld, and not compared."""

    compared: int
    mismatched: int
    quarantined: int
    mismatches: tuple[ShadowMismatch, ...]


def compare_served(served: ServedBlock, computed: FeatureRows) -> ShadowParity:
    """Compare each served row with the computed one of its time, which must be there; computed rows have reasons.

    A group that was withheld is not compared.
    """
    assert computed.reasons is not None, "rows from an engine have reasons"
    at = np.searchsorted(computed.row_ns, served.row_ns)
    is_withheld = served.status == QUARANTINED
    differs = (
        np.ascontiguousarray(served.values).view(np.int64) != np.ascontiguousarray(computed.values[at]).view(np.int64)
    ) | (served.reasons != computed.reasons[at])
    status_differs = (served.status != computed.status[at]) & ~is_withheld
    mismatches = []
    rows = np.zeros(len(served), bool)
    for number, group in enumerate(computed.feature_set.groups):
        columns = np.asarray(group.indices, np.int64)
        of_group = differs[:, columns] & ~is_withheld[:, number, np.newaxis]
        is_different = of_group.any(axis=1) | status_differs[:, number]
        rows |= is_different
        if is_different.any():
            chosen = np.flatnonzero(is_different)
            row = int(chosen[np.argmin(served.row_ns[chosen])])
            column = int(columns[np.argmax(of_group[row])]) if of_group[row].any() else None
            mismatches.append(_mismatch(served, computed, (row, int(at[row])), number, column, len(chosen)))
    return ShadowParity(len(served), int(rows.sum()), int(is_withheld.any(axis=1).sum()), tuple(mismatches))


def _mismatch(
    served: ServedBlock, computed: FeatureRows, places: tuple[int, int], number: int, column: int | None, rows: int
) -> ShadowMismatch:
    """places: of the row among the served and among the computed ones. column: None where the status differs alone."""
    row, against = places
    group = computed.feature_set.groups[number]
    assert computed.reasons is not None
    if column is None:
        feature = f"status of {group.name}"
        texts = _name(served.status[row, number]), _name(computed.status[against, number])
    else:
        feature = computed.feature_set.columns[column]
        texts = (
            _text(served.values[row, column], served.reasons[row, column]),
            _text(computed.values[against, column], computed.reasons[against, column]),
        )
    return ShadowMismatch(
        computed.symbol, int(served.row_ns[row]), group.name, feature, *texts, served.where[row], rows
    )


def _text(value: float, reason: int) -> str:
    return repr(float(value)) if reason == 0 else f"{float(value)!r} ({_name(reason)})"


def _name(number: int) -> str:
    return REASON_NAMES[number] if 0 <= number < len(REASON_NAMES) else "a reason without a name"
