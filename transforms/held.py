"""What an engine holds of the past: trades in its windows, candles, and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import MINUTE_NS
from transforms.jit import python_function
from transforms.state import CANDLE_COUNT, NOT_STARTED
from transforms.tiles import end_before

WINDOWS_S: Final = (1, 3, 15, 60, 300)
"""Seconds of the windows that are told of; the last is the longest that there is."""

_end_before: Final = python_function(end_before)


@dataclass(frozen=True, slots=True)
class HeldPast:
    """Trades of each window up to ``closed_ns``, by its seconds; confirmed candles a row may look at; bytes."""

    trades: dict[int, int]
    candles: int
    memory_bytes: int


def held_past(state: npt.NDArray[Any], closed_ns: int | None, waiting_bytes: int) -> HeldPast:
    """Of a state whose tiles are closed up to then; None before the first record."""
    memory = state.nbytes + waiting_bytes
    if closed_ns is None or closed_ns == NOT_STARTED:
        return HeldPast(dict.fromkeys(WINDOWS_S, 0), 0, memory)
    counts = state["tiles"]["trade_count"][0]
    at = counts[_end_before(closed_ns, 0)]
    trades = {seconds: int(at - counts[_end_before(closed_ns, seconds)]) for seconds in WINDOWS_S}
    start_ns = state["candles"]["start_ns"][0]
    candles = int(np.count_nonzero((start_ns > closed_ns - CANDLE_COUNT * MINUTE_NS) & (start_ns <= closed_ns)))
    return HeldPast(trades, candles, memory)
