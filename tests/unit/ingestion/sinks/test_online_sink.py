"""What waits for an online store that was away: a row that comes while an older one is stored is stored after it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.sinks import OnlineSink
from market.errors import StoreUnavailable
from storage.online.scripts import WriteResult
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.waiting import eventually
from tests.whole_rows import NAMES, SET, B
from transforms.rows import FeatureRows

DEADLINE_S = 30.0


class BusyStore(OnlineStore):
    """Refuses the first call, and is busy with the second until it may go on."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.is_busy, self.may_go_on = threading.Event(), threading.Event()
        self._calls = 0

    def write(
        self,
        rows: Sequence[OnlineRow],
        *,
        now_ns: int,  # noqa: ARG002  # of one writer
        fences: Mapping[str, int] | None = None,  # noqa: ARG002  # of one writer
    ) -> WriteResult:
        self._calls += 1
        if self._calls == 1:
            raise StoreUnavailable("redis: away")
        if self._calls == 2:
            self.is_busy.set()
            assert self.may_go_on.wait(DEADLINE_S)
        self.stored += [row.row_ns - B for row in rows]
        return WriteResult(len(rows), 0, 0)

    def close(self) -> None:
        """Nothing is open."""


def served(second: int) -> ServedRows:
    row_ns = np.array([B + second], np.int64)
    zeros = np.zeros((1, len(NAMES)), np.int8)
    rows = FeatureRows("AUSDT", SET, row_ns, np.zeros((1, len(NAMES))), np.zeros((1, 2), np.int8), zeros)
    return ServedRows(rows, row_ns)


def test_a_row_that_comes_while_an_older_one_is_stored_waits_on_and_is_stored_after_it() -> None:
    store = BusyStore()
    sink = OnlineSink(store, retry_s=0.0)
    sink.write([served(1)])
    assert store.is_busy.wait(DEADLINE_S)
    sink.write([served(2)])
    store.may_go_on.set()
    eventually(lambda: not sink.is_away, deadline_s=DEADLINE_S)
    assert store.stored == [1, 2]
    sink.close()
