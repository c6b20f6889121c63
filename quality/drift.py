"""Drift: how far values are from those of a profile, a sketch of quantiles by column.

1. A sketch cuts a column's values at its quantiles, every 5 %, or at each of its values where it has few; ``shares`` is
   what falls between two cuts.
2. PSI, the population stability index, is sum((a - e) * ln(a / e)) over the shares a now and e then: Siddiqi, "Credit
   Risk Scorecards", 2006. A share of less than LEAST_SHARE counts as that much, so that an empty bin has a logarithm.
   Below 0.1 is taken for none, above 0.25 for a shift.
3. KS is the greatest distance between the two cumulative shares: Smirnov's two-sample statistic, "Table for estimating
   the goodness of fit of empirical distributions", 1948, looked at at the cuts alone, so too small by at most a bin.
4. The missing rates are compared by their difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from transforms.catalogue import FEATURES

Float64s = npt.NDArray[np.float64]

BINS: Final = 20
LEAST_SHARE: Final = 1e-4
FEWEST_ROWS: Final = 100
"""Of either side; with less, chance alone makes a PSI of (bins - 1) * (1/n + 1/m) a shift."""
OF_THE_CLOCK: Final = "temporal"


@dataclass(frozen=True, slots=True)
class DriftLimits:
    """From when on a column has drifted; missing_rate is a difference."""

    psi: float
    ks: float
    missing_rate: float


USUAL_LIMITS: Final = DriftLimits(psi=0.25, ks=0.3, missing_rate=0.1)


def column_sketch(values: Float64s) -> dict[str, Any]:
    """The sketch of a column as JSON: rows, missing (a share), cuts and shares, one more than cuts. NaN is missing."""
    known = np.sort(values[np.isfinite(values)])
    # Sorted once: np.unique and np.quantile would sort again.
    distinct = known[np.concatenate([[True], known[1:] != known[:-1]])] if len(known) else known
    if 0 < len(distinct) <= BINS:
        # What lies beside them has bins of its own: a constant that becomes another is a shift.
        cuts = np.array([np.nextafter(distinct[0], -np.inf), *distinct])
    elif len(distinct) == 0:
        cuts = distinct
    else:
        at = np.ceil(len(known) * (np.arange(1, BINS) / BINS) - 1.0).astype(np.int64)
        cuts = np.unique(known[at])
    return {
        "rows": len(values),
        "missing": _missing(known, values),
        "cuts": cuts.tolist(),
        "shares": _shares(known, cuts).tolist(),
    }


def table_sketch(columns: Sequence[str], values: Float64s) -> dict[str, dict[str, Any]]:
    """The sketch of each column; values float64 (n, columns)."""
    return {name: column_sketch(values[:, at]) for at, name in enumerate(columns)}


def column_drift(then: Mapping[str, Any], values: Float64s, limits: DriftLimits) -> dict[str, Any]:
    """How far values now are from a sketch: psi, ks, missing then and now, and ``drifted``, which measures exceed.

    psi and ks are null where either side has fewer than FEWEST_ROWS known values.
    """
    known = np.sort(values[np.isfinite(values)])
    missing = _missing(known, values)
    found: dict[str, Any] = {"psi": None, "ks": None, "missing_then": then["missing"], "missing_now": missing}
    if len(known) >= FEWEST_ROWS and then["rows"] * (1.0 - then["missing"]) >= FEWEST_ROWS:
        expected = np.array(then["shares"])
        actual = _shares(known, np.array(then["cuts"]))
        e, a = np.maximum(expected, LEAST_SHARE), np.maximum(actual, LEAST_SHARE)
        found["psi"] = float(((a - e) * np.log(a / e)).sum())
        found["ks"] = float(np.abs(np.cumsum(actual) - np.cumsum(expected)).max())
    exceeding = {
        "psi": found["psi"] is not None and found["psi"] >= limits.psi,
        "ks": found["ks"] is not None and found["ks"] >= limits.ks,
        "missing": abs(missing - then["missing"]) >= limits.missing_rate,
    }
    return {**found, "drifted": [name for name, is_so in exceeding.items() if is_so]}


def table_drift(
    then: Mapping[str, Mapping[str, Any]], columns: Sequence[str], values: Float64s, limits: DriftLimits
) -> dict[str, dict[str, Any]]:
    """The drift of each column that both have, the farthest first, in multiples of its limit.

    values: float64 (n, columns). A column that is bound to move is compared and never counts: ``is_expected``.
    """
    found = {}
    for at, name in enumerate(columns):
        if name in then:
            drift = column_drift(then[name], values[:, at], limits)
            expected = moves_by_nature(name)
            found[name] = {**drift, "drifted": [] if expected else drift["drifted"], "is_expected": expected}
    return dict(sorted(found.items(), key=lambda each: -_distance(each[1], limits)))


def _distance(drift: Mapping[str, Any], limits: DriftLimits) -> float:
    """The greatest of its measures, each in multiples of its limit; those that are not known count for nothing."""
    missing = abs(drift["missing_now"] - drift["missing_then"])
    measures = (drift["psi"], limits.psi), (drift["ks"], limits.ks), (missing, limits.missing_rate)
    return float(max(value / limit for value, limit in measures if value is not None))


def moves_by_nature(column: str) -> bool:
    """Whether another hour has other values of a column by its nature: a price, an amount in it, the time of day."""
    feature = FEATURES.get(column)
    return feature is not None and (feature.unit == "quote" or feature.group == OF_THE_CLOCK)


def _missing(known: Float64s, values: Float64s) -> float:
    return (len(values) - len(known)) / max(len(values), 1)


def _shares(known: Float64s, cuts: Float64s) -> Float64s:
    """The share of sorted values up to each cut, it included, after the one before, and behind the last."""
    reached = np.searchsorted(known, cuts, side="right")
    counts = np.diff(np.concatenate([[0], reached, [len(known)]]))
    shares: Float64s = counts / max(len(known), 1)
    return shares
