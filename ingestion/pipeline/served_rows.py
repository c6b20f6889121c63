"""Rows as they are handed on: with the time at which each could be read, and where they go to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ingestion.pipeline.watermark import GRACE_NS
from transforms.rows import FeatureRows

Availability = Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.int64]]
"""From row times and the present time to when each row could be read."""


@dataclass(frozen=True, slots=True)
class ServedRows:
    """Rows of one symbol with the time at which each could be read by a model, int64 ns (n,).

    trace_id: of the last message before them that had one. newest_recv_ns: the latest stamp of the messages that are in
    no row before them, None without one.
    wait_durable: waits up to so many seconds for the messages of the rows to be on the disk and says whether they are;
        raises StoreUnavailable when they never will be.
    """

    rows: FeatureRows
    available_ns: npt.NDArray[np.int64]
    trace_id: str | None = None
    newest_recv_ns: int | None = None
    wait_durable: Callable[[float], bool] = lambda _timeout_s: True

    def only(self, chosen: slice | npt.NDArray[np.int64]) -> ServedRows:
        """The chosen ones of the rows."""
        return replace(self, rows=self.rows.only(chosen), available_ns=self.available_ns[chosen])

    def whole_seconds(self) -> ServedRows:
        """Those at whole seconds, which the feature log holds."""
        whole = self.rows.at_seconds()
        if len(whole) == len(self.rows):
            return self
        return self.only(np.array(whole, np.intp) if whole else slice(0))


class RowSink(Protocol):
    """A place that closed rows go to."""

    def write(self, served: Sequence[ServedRows]) -> None: ...

    def close(self) -> None: ...


def available_now(row_ns: npt.NDArray[np.int64], now_ns: int) -> npt.NDArray[np.int64]:
    """A live row can be read from now on."""
    return np.full(len(row_ns), now_ns, np.int64)


def available_as_if_live(row_ns: npt.NDArray[np.int64], now_ns: int) -> npt.NDArray[np.int64]:
    """A replayed row could be read when its clock closed it: at the next message, or after the grace."""
    return np.minimum(row_ns + GRACE_NS, now_ns)
