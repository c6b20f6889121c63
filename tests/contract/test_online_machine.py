"""The online store against a plain dict: several writers with fences, late rows, rows from the future, in any order."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from market.clock import SECOND_NS
from runtime.embedded import embedded_redis
from storage.online.address import redis_settings
from storage.online.scripts import WriteResult
from storage.online.store import MAX_AHEAD_NS, OnlineStore
from storage.online.vector import OnlineRow
from tests.machines import machine_settings
from transforms.rows import FeatureGroup, FeatureSet

B = 1_772_000_000 * SECOND_NS
SET = FeatureSet("1.0.0", ("mid",), (FeatureGroup("price", "aaaa", ("mid",), (0,)),), "cccc")
SYMBOLS = ("AUSDT", "BUSDT")
FIRST_REFUSED = MAX_AHEAD_NS // SECOND_NS + 1

written_rows = st.lists(
    st.tuples(st.sampled_from(SYMBOLS), st.integers(0, 3) | st.just(FIRST_REFUSED), st.integers(0, 2)),
    min_size=1,
    max_size=3,
)
held_fences = st.dictionaries(st.sampled_from(SYMBOLS), st.integers(1, 3))


@pytest.fixture(scope="module")
def address() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="fs-") as folder, embedded_redis(Path(folder)) as redis:
        yield redis_settings(f"{redis.host}:{redis.port}")


class OnlineMachine(RuleBasedStateMachine):
    """Each run has symbols of a project of its own."""

    projects = itertools.count()
    redis: ClassVar[dict[str, str]]

    def __init__(self) -> None:
        super().__init__()
        self.store = OnlineStore.connect(self.redis, project=f"machine-{next(self.projects)}")
        self.newest: dict[str, tuple[int, int, float]] = {}
        self.fences: dict[str, int] = {}
        self.written = 0

    def teardown(self) -> None:
        self.store.close()

    @rule(rows=written_rows, fences=held_fences)
    def write(self, rows: list[tuple[str, int, int]], fences: dict[str, int]) -> None:
        sent: list[OnlineRow] = []
        counts = {"written": 0, "superseded": 0, "refused": 0}
        fenced: list[str] = []
        for symbol, second, late in rows:
            value = float(self.written)
            self.written += 1
            row_ns = B + second * SECOND_NS
            sent.append(OnlineRow(symbol, SET, row_ns, row_ns + late, np.array([value]), np.zeros(1, np.int8), {}))
            if second >= FIRST_REFUSED:
                counts["refused"] += 1
                continue
            fence = fences.get(symbol)
            if fence is not None:
                if fence < self.fences.get(symbol, 0):
                    fenced.append(symbol)
                    continue
                self.fences[symbol] = fence
            if symbol in self.newest and self.newest[symbol][:2] > (second, late):
                counts["superseded"] += 1
                continue
            counts["written"] += 1
            self.newest[symbol] = (second, late, value)
        assert self.store.write(sent, now_ns=B, fences=fences) == WriteResult(**counts, fenced=tuple(fenced))

    @invariant()
    def what_is_read_is_the_newest_row(self) -> None:
        found = {
            symbol: ((row.row_ns - B) // SECOND_NS, row.available_ns - row.row_ns, float(row.values[0]))
            for symbol, row in zip(SYMBOLS, self.store.read(SYMBOLS), strict=True)
            if row is not None
        }
        assert found == self.newest
        assert self.store.symbols() == sorted(self.newest)


@pytest.mark.hypothesis
def test_any_writers_in_any_order_leave_the_newest_row_of_the_highest_fence(address: dict[str, str]) -> None:
    class Here(OnlineMachine):
        redis = address

    run_state_machine_as_test(Here, settings=machine_settings(runs=20, steps=15))
