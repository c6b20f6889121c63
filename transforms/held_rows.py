"""What is known of one key of a table: rows ascending by event, in which a later word takes an earlier one's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class HeldRows:
    """Rows ascending by event time, then item."""

    def __init__(self, names: Sequence[str], capacity: int) -> None:
        self.event_ns = np.empty(capacity, np.int64)
        self.item = np.empty(capacity, np.int64)
        self.series: dict[str, Any] = {name: np.empty(capacity) for name in names}
        self.count = 0

    def learn(self, event_ns: int, row: Mapping[str, float], item: int = 0) -> bool:
        """Take in a row; whether it says anything new."""
        at = self._place(event_ns, item)
        if at < self.count and self.event_ns[at] == event_ns and self.item[at] == item:
            same = all(
                held[at] == row[name] or (np.isnan(held[at]) and np.isnan(row[name]))
                for name, held in self.series.items()
            )
            if same:
                return False
        else:
            if at < self.count:
                for held in (self.event_ns, self.item, *self.series.values()):
                    held[at + 1 : self.count + 1] = held[at : self.count]
            self.event_ns[at] = event_ns
            self.item[at] = item
            self.count += 1
        for name, held in self.series.items():
            held[at] = row[name]
        return True

    def extend(
        self, event_ns: npt.NDArray[np.int64], rows: Mapping[str, npt.NDArray[np.float64]], item: Any = 0
    ) -> None:
        """Take in rows that are newer than all that is held, ascending. item: theirs, (n,), or one for all."""
        end = self.count + len(event_ns)
        self.event_ns[self.count : end] = event_ns
        self.item[self.count : end] = item
        for name, held in self.series.items():
            held[self.count : end] = rows[name]
        self.count = end

    def known(self) -> dict[str, Any]:
        """All rows, by column, which a feature cannot write into."""
        views = {name: held[: self.count] for name, held in self.series.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    def _place(self, event_ns: int, item: int) -> int:
        """Where a row stands or would stand."""
        at = self.count
        if at == 0 or self.event_ns[at - 1] < event_ns:
            return at
        at = int(np.searchsorted(self.event_ns[: self.count], event_ns))
        while at < self.count and self.event_ns[at] == event_ns and self.item[at] < item:
            at += 1
        return at
