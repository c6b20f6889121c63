"""Ways in which a feature sees its future."""

from __future__ import annotations

from typing import Any

import numpy as np

from market.clock import SECOND_NS

HORIZON_NS = 10 * SECOND_NS
Float64s = np.ndarray[Any, np.dtype[np.float64]]


def centred(values: Float64s) -> Float64s:
    around: Float64s = (np.roll(values, 1) + values + np.roll(values, -1)) / 3
    return around


def back_filled(values: Float64s) -> Float64s:
    """As after a gap at every row but one of seven, filled with what came next."""
    known = np.arange(len(values)) % 7 == 0
    following = np.minimum(np.searchsorted(np.flatnonzero(known), np.arange(len(values))), known.sum() - 1)
    filled: Float64s = values[known][following]
    return filled


def z_score_of_everything(values: Float64s) -> Float64s:
    scaled: Float64s = (values - np.nanmean(values)) / np.nanstd(values)
    return scaled


def label(values: Float64s) -> Float64s:
    ahead: Float64s = np.roll(values, -(HORIZON_NS // SECOND_NS)) / values - 1.0
    return ahead
