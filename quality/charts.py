"""Charts as inline SVG text: histograms, heat maps, a line over time, a time line of splits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from quality.profile import near_one

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

INK: Final = "#1f2937"
FAINT: Final = "#9ca3af"
BAR: Final = "#2563eb"
SPLIT_COLOURS: Final = {"train": "#2563eb", "validation": "#d97706", "test": "#059669"}
_LEVELS: Final = 20
_UNKNOWN: Final = _LEVELS + 1


@dataclass(frozen=True, slots=True)
class Stretch:
    """A coloured stretch of a time line's row."""

    row: str
    name: str
    start_ns: int
    end_ns: int
    told: str


def histogram(values: Float64s, *, width: int = 220, height: int = 70, bins: int = 40) -> str:
    """The distribution of the finite values between their 0.5 and 99.5 percentiles, both ends labelled."""
    known, power = near_one(values[np.isfinite(values)])
    if len(known) == 0:
        return _svg(width, height, _text(4, 20, "no value", FAINT), "no value")
    low, high = (float(edge) for edge in np.quantile(known, [0.005, 0.995]))
    # Places in [0, 1], not edges: between values one ulp apart there is no room for the edges of forty bins.
    places = (np.clip(known, low, high) - low) / (high - low) if high > low else np.full(len(known), 0.5)
    counts = np.bincount(np.minimum((places * bins).astype(np.int64), bins - 1), minlength=bins)
    step, most = width / bins, int(counts.max())
    bars = []
    for at, count in enumerate(counts.tolist()):
        tall = count / most * (height - 16)
        if count:
            bars.append(_rect(at * step, height - 14 - tall, step - 0.5, tall, BAR))
    first, last = _ends(math.ldexp(low, power), math.ldexp(high, power))
    labels = _text(0, height - 2, first, FAINT) + _text(width, height - 2, last, FAINT, anchor="end")
    return _svg(width, height, "".join(bars) + labels, f"distribution from {first} to {last}")


def heat_map(names: Sequence[str], values: Float64s, *, cell: int = 9, diverging: bool, columns: Sequence[str]) -> str:
    """A row of cells for each name: white at 0, blue at 1 and, diverging, red at -1; grey where not known.

    values: float64 (names, cells). columns: texts under the first and the last column.
    """
    left, width = 210, 220 + values.shape[1] * cell
    parts = []
    levels = _levels(values, diverging=diverging)
    for row, name in enumerate(names):
        y = row * cell
        parts.append(_text(left - 4, y + cell - 1, name, INK, anchor="end", size=cell - 1))
        at = 0
        # Neighbours of one colour are one rectangle: the map of a hundred columns stays small.
        for level, run in itertools.groupby(levels[row]):
            length = len(list(run))
            if level:
                parts.append(_rect(left + at * cell, y, length * cell, cell, _colour(level)))
            at += length
    bottom = len(names) * cell
    parts.append(
        f'<rect x="{left}" y="0" width="{values.shape[1] * cell}" height="{bottom}" fill="none" stroke="{FAINT}"/>'
    )
    if columns:
        parts.append(_text(left, bottom + 12, columns[0], FAINT))
        parts.append(_text(left + values.shape[1] * cell, bottom + 12, columns[-1], FAINT, anchor="end"))
    return _svg(width, bottom + 18, "".join(parts), "heat map")


def line(times_ns: Int64s, values: Float64s, *, width: int = 900, height: int = 160, points: int = 450) -> str:
    """Least and greatest finite value in each of ``points`` stretches of time, as a band."""
    is_known = np.isfinite(values)
    times_ns, values = times_ns[is_known], values[is_known]
    if len(values) == 0:
        return _svg(width, height, _text(4, 20, "no value", FAINT), "no value")
    begin, end = int(times_ns.min()), int(times_ns.max()) + 1
    values, power = near_one(values)
    low, high = float(values.min()), float(values.max())
    # Of the height, not by a scale: one by the span of values that hardly differ would be infinite.
    places = (high - values) / (high - low) if high > low else np.zeros(len(values))
    bucket = (times_ns - begin) * points // (end - begin)
    parts = []
    for at in np.unique(bucket).tolist():
        inside = places[bucket == at] * (height - 34)
        top, bottom = float(inside.min()), float(inside.max())
        parts.append(_rect(at * width / points, 8 + top, width / points, max(bottom - top, 1.0), BAR))
    first, last = _ends(math.ldexp(low, power), math.ldexp(high, power))
    labels = (
        _text(0, height - 4, format_iso(begin), FAINT)
        + _text(width, height - 4, format_iso(end - 1), FAINT, anchor="end")
        + _text(0, 8, last, FAINT)
        + _text(0, height - 18, first, FAINT)
    )
    return _svg(width, height, "".join(parts) + labels, f"values over time from {first} to {last}")


def time_line(stretches: Sequence[Stretch], *, width: int = 900, row_height: int = 18) -> str:
    """Rows of coloured stretches on one time axis, in the order in which the rows first appear."""
    rows = list(dict.fromkeys(stretch.row for stretch in stretches))
    begin = min(stretch.start_ns for stretch in stretches)
    end = max(stretch.end_ns for stretch in stretches)
    left, scale = 70, (width - 70) / (end - begin)
    parts = [_text(0, (at + 1) * row_height - 5, row, INK) for at, row in enumerate(rows)]
    for stretch in stretches:
        x = left + (stretch.start_ns - begin) * scale
        y = rows.index(stretch.row) * row_height + 2
        parts.append(
            f"<g><title>{escape(stretch.told)}</title>"
            + _rect(
                x,
                y,
                max((stretch.end_ns - stretch.start_ns) * scale - 1, 1),
                row_height - 4,
                SPLIT_COLOURS[stretch.name],
            )
            + "</g>"
        )
    bottom = len(rows) * row_height + 14
    parts.append(
        _text(left, bottom, format_iso(begin), FAINT) + _text(width, bottom, format_iso(end), FAINT, anchor="end")
    )
    return _svg(width, bottom + 4, "".join(parts), "time line of the splits")


def _ends(low: float, high: float) -> tuple[str, str]:
    """Both ends as short as they can be told apart."""
    first, last = f"{low:.4g}", f"{high:.4g}"
    return (first, last) if first != last or low == high else (repr(low), repr(high))


def _levels(values: Float64s, *, diverging: bool) -> list[list[int]]:
    """Of each value, in _LEVELS steps of 0 to 1: below 0 for one that is red, _UNKNOWN for NaN."""
    levels = np.rint(np.minimum(np.abs(values), 1.0) * _LEVELS)
    if diverging:
        levels = np.where(values < 0, -levels, levels)
    found: list[list[int]] = np.where(np.isnan(values), _UNKNOWN, levels).astype(np.int64).tolist()
    return found


@cache
def _colour(level: int) -> str:
    if level == _UNKNOWN:
        return "#e5e7eb"
    share = abs(level) / _LEVELS
    strong = (220, 38, 38) if level < 0 else (37, 99, 235)
    return "#" + "".join(f"{round(255 + (channel - 255) * share):02x}" for channel in strong)


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def _text(x: float, y: float, text: str, fill: str, *, anchor: str = "start", size: int = 10) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" fill="{fill}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(width: int, height: int, inside: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label, quote=True)}">{inside}</svg>'
    )
