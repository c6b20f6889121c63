"""The witness: what a dataset was given at a few chosen times, kept for the leakage check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from training_sets.samples.sample_times import SampleTimes

TIMES_CHECKED: Final = 5

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a dataset was given for one symbol at one time, before anything was filled."""

    symbol: str
    time_ns: int
    values: Float64s


class Witness:
    """Keeps what was retrieved at the chosen times."""

    def __init__(self, symbols: Sequence[str], times: SampleTimes) -> None:
        chosen = np.linspace(0, len(times) - 1, min(TIMES_CHECKED, len(times))).astype(np.int64)
        self.times_ns: Int64s = np.concatenate([times.between(at, at + 1) for at in chosen.tolist()])
        self.seen: list[Seen] = []
        self._symbols = symbols

    def see(self, times_ns: Int64s, features: Float64s) -> None:
        """Take a piece: features are float64 (times × symbols, columns), symbols in order within each time."""
        for at in np.flatnonzero(np.isin(times_ns, self.times_ns)).tolist():
            for index, symbol in enumerate(self._symbols):
                values = features[at * len(self._symbols) + index].copy()
                self.seen.append(Seen(symbol, int(times_ns[at]), values))
