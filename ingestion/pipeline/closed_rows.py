"""What is known of the newest rows of one symbol, and of the messages that are in none of them yet."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from transforms.rows import FeatureRows, FeatureSet
from transforms.status import STATUS_NAMES

ROWS_REMEMBERED: Final = 75
"""Of the newest rows at whole seconds, which another version's are compared with: a minute and what it takes longer."""


class ClosedRows:
    """Kept by the thread that computes, read from any."""

    def __init__(self) -> None:
        self.seconds = 0
        """Rows at whole seconds."""
        self.until_ns: int | None = None
        """The tick up to which rows were handed on, before which no record can come any more; None before the first."""
        self.newest_in_row_ns: int | None = None
        """The latest stamp of the messages that the newest row has and the row before it had not; None without one."""
        self._last: tuple[int, npt.NDArray[np.int8], FeatureSet] | None = None
        self._remembered: deque[FeatureRows] = deque(maxlen=ROWS_REMEMBERED)
        self._unserved_ns: list[int] = []  # stamps of messages that are in no row yet

    @property
    def last_row_ns(self) -> int | None:
        """Time of the newest closed row; None before the first."""
        return None if self._last is None else self._last[0]

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each feature group in the newest closed row."""
        last = self._last
        if last is None:
            return {}
        # Of the row's own set: until its first row another version's engine is there already.
        _, found, of_set = last
        return {group.name: STATUS_NAMES[status] for group, status in zip(of_set.groups, found, strict=True)}

    @property
    def remembered(self) -> list[FeatureRows]:
        """The newest rows at whole seconds, at most ROWS_REMEMBERED of them, oldest first."""
        return list(self._remembered)

    def add_messages(self, *stamps_ns: int) -> None:
        """Messages were taken that are in no row yet."""
        self._unserved_ns += stamps_ns

    def lacks_message_before(self, tick_ns: int) -> bool:
        """Whether a message before the tick is in no row yet."""
        return any(stamp_ns < tick_ns for stamp_ns in self._unserved_ns)

    def note(self, rows: FeatureRows, closed_ns: int) -> None:
        """The rows up to ``closed_ns`` are served."""
        self.until_ns = closed_ns
        self.newest_in_row_ns = max((stamp_ns for stamp_ns in self._unserved_ns if stamp_ns < closed_ns), default=None)
        if self.newest_in_row_ns is not None:
            self._unserved_ns = [stamp_ns for stamp_ns in self._unserved_ns if stamp_ns >= closed_ns]
        whole = rows.at_seconds()
        self.seconds += len(whole)
        self.note_last(rows)
        for at in whole[-ROWS_REMEMBERED:]:
            self._remembered.append(rows.only(slice(at, at + 1), reasons=False))

    def note_last(self, rows: FeatureRows) -> None:
        """The rows were closed, by this process or the one before it."""
        if len(rows) > 0:
            self._last = int(rows.row_ns[-1]), rows.status[-1].copy(), rows.feature_set

    def forget_remembered(self) -> None:
        """The next rows are of another version."""
        self._remembered.clear()
