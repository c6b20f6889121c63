"""The witness: what a dataset was given at a few chosen times, kept for the leakage check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from training_sets.samples.known import Known
from training_sets.samples.sample_times import SampleTimes

TIMES_CHECKED: Final = 5

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a dataset was given for one symbol at one time, before anything was filled.

    row_ns: of the row or tick that the values are of; None when the symbol had none. decision_ns: when the model acts.
    """

    symbol: str
    time_ns: int
    row_ns: int | None
    decision_ns: int
    values: Float64s


class Witness:
    """Keeps what was retrieved at the chosen times."""

    def __init__(self, symbols: Sequence[str], times: SampleTimes) -> None:
        chosen = np.linspace(0, len(times) - 1, min(TIMES_CHECKED, len(times))).astype(np.int64)
        self.times_ns: Int64s = np.concatenate([times.between(at, at + 1) for at in chosen.tolist()])
        self.seen: list[Seen] = []
        self._symbols = symbols

    def see(self, times_ns: Int64s, known: Known, decisions_ns: Int64s) -> None:
        """Take what is known at the times of a piece, and when the model acts on it, int64 (times x symbols,)."""
        for at in np.flatnonzero(np.isin(times_ns, self.times_ns)).tolist():
            for index, symbol in enumerate(self._symbols):
                row = at * len(self._symbols) + index
                row_ns = int(known.row_ns[row])
                self.seen.append(
                    Seen(
                        symbol,
                        int(times_ns[at]),
                        row_ns if row_ns >= 0 else None,
                        int(decisions_ns[row]),
                        known.features[row].copy(),
                    )
                )
