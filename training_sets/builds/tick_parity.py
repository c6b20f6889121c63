"""Parity of served ticks: what readers were given, by its recorded digests, against rows computed again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from quality.parity import Divergence, Parity
from storage.features.served_ticks import row_digest
from storage.raw.events import first_message_ns
from storage.raw.raw_data import RawData
from training_sets.rebuild.ticks import TickRows
from transforms.kernel import Kernel

SERVED_TICK: Final = "the served tick"
"""Stands for the feature: a digest does not tell which differs."""
_AT_A_TIME: Final = 3600

Recorded = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint64]]
"""Row times, availabilities and digests, by row time."""


@dataclass(frozen=True, slots=True)
class TickChoice:
    """So many of a symbol's recorded rows, drawn by a seed; ``count`` None is all."""

    count: int | None = 1000
    seed: int = 0


def compare_ticks(raw: RawData, symbol: str, kernel: Kernel, recorded: Recorded, choice: TickChoice) -> Parity:
    """Compute the chosen recorded rows again and compare their digests.

    Those from before the raw data cannot be. Raises NotFound when there is no raw data of the symbol.
    """
    row_ns, _, digests = recorded
    first_ns = first_message_ns(raw, raw.parts(symbol))
    chosen = np.flatnonzero(row_ns > first_ns)
    if choice.count is not None and choice.count < len(chosen):
        chosen = np.sort(np.random.default_rng(choice.seed).choice(chosen, choice.count, replace=False))
    if len(chosen) == 0:
        return Parity(ticks_recorded=len(row_ns))
    rows = TickRows(raw, symbol, kernel, to_ns=int(row_ns[chosen[-1]]))
    mismatched = 0
    first: Divergence | None = None
    for begin in range(0, len(chosen), _AT_A_TIME):
        part = chosen[begin : begin + _AT_A_TIME]
        ticks_ns, of = np.unique(row_ns[part], return_inverse=True)
        again = row_digest(rows.at(ticks_ns))[of]
        differs = np.flatnonzero(again != digests[part])
        mismatched += len(differs)
        if first is None and len(differs) > 0:
            at = int(differs[0])
            served, rebuilt = f"{int(digests[part][at]):016x}", f"{int(again[at]):016x}"
            first = Divergence(symbol, int(row_ns[part][at]), SERVED_TICK, served, rebuilt)
    return Parity(
        first_divergence=first, ticks_recorded=len(row_ns), ticks_compared=len(chosen), ticks_mismatched=mismatched
    )
