"""The feature log against a plain list of what was written, in any order: its own reader, and Feast's offline store."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from feast import FileSource
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from feature_repo.as_of_join import group_rows, newest_positions
from feature_repo.parquet_pruning import PERIOD, PERIOD_TAG
from feature_repo.source_rows import SourceRows
from market.clock import DAY_NS, MICROSECOND_NS, SECOND_NS
from market.errors import NotFound
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.merging import KEPT_NS, merge_days
from storage.features.parts import group_folder
from storage.features.rebuilt_days import has_rebuilt_day, remove_rebuilt_days, write_rebuilt_day
from storage.places import Place, local
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

SYMBOL = "BTCUSDT"
DATE = "2024-10-04"
MIDNIGHT_NS = 20_000 * DAY_NS
PRICE = FeatureGroup("price", "aaaa", ("mid",), (0,))
FLOW = FeatureGroup("orderflow", "bbbb", ("vwap",), (1,))
BOTH = FeatureSet("2.0.0", ("mid", "vwap"), (PRICE, FLOW), "cccc")

seconds = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True).map(sorted)
arrivals = st.integers(1, 3).map(lambda number: number * MICROSECOND_NS)


class LogMachine(RuleBasedStateMachine):
    """Each row has a value of its own, so that the one that is read tells which was taken."""

    @initialize()
    def begin(self) -> None:
        self.folder = self.new_folder()
        self.log = FeatureLog(self.folder)
        self.written = 0
        self.served: list[tuple[int, int, float]] = []  # second, created, value: in the order of writing
        self.rebuilt: list[tuple[int, int, float]] = []
        self.rebuilt_before = 0
        """How many served rows had been written when the rebuilt ones were."""
        self.inputs: str | None = None
        self.now_ns = 0

    def new_folder(self) -> Place:
        """Of this machine; a machine of another store begins elsewhere."""
        return Path(tempfile.mkdtemp(prefix="fs-log-"))

    def teardown(self) -> None:
        if isinstance(getattr(self, "folder", None), Path):
            shutil.rmtree(local(self.folder))

    def rows(self, at: list[int], arrival: int) -> tuple[FeatureRows, list[tuple[int, int, float]]]:
        values = [float(self.written + number) for number in range(len(at))]
        self.written += len(at)
        row_ns = MIDNIGHT_NS + np.array(at) * SECOND_NS
        rows = FeatureRows(SYMBOL, BOTH, row_ns, np.array([values, values]).T, np.zeros((len(at), 2), np.int8))
        return rows, [(second, arrival, value) for second, value in zip(at, values, strict=True)]

    @rule(at=seconds, arrival=arrivals)
    def serve(self, at: list[int], arrival: int) -> None:
        rows, stated = self.rows(at, arrival)
        with FeatureLogWriter(self.folder) as writer:
            writer.append(rows, rows.row_ns + arrival)
        self.served += stated

    @rule(at=seconds, arrival=arrivals, inputs=st.sampled_from(["feed", "cafe"]))
    def rebuild(self, at: list[int], arrival: int, inputs: str) -> None:
        rows, stated = self.rows(at, arrival)
        pieces = [(rows, rows.row_ns + arrival)]
        made_of = {"price": inputs, "orderflow": inputs}
        assert write_rebuilt_day(self.log, SYMBOL, BOTH.groups, pieces, date=DATE, inputs=made_of) == len(at)
        self.rebuilt, self.rebuilt_before, self.inputs = stated, len(self.served), inputs

    @precondition(lambda self: self.inputs is not None)
    @rule()
    def throw_away(self) -> None:
        assert remove_rebuilt_days(self.log, symbol=None, first_date=DATE, last_date=None) >= 2
        self.rebuilt, self.inputs = [], None

    @rule(later_ns=st.sampled_from([1, KEPT_NS]))
    def merge(self, later_ns: int) -> None:
        self.now_ns += later_ns
        merge_days(self.folder, now_ns=self.now_ns)

    @invariant()
    def what_is_read_is_what_was_written_last(self) -> None:
        if not hasattr(self, "folder"):
            return
        everything = [*self.served[: self.rebuilt_before], *self.rebuilt, *self.served[self.rebuilt_before :]]
        assert self.read(served_only=False) == newest(everything)
        assert self.read(served_only=True) == newest(self.served)
        assert self.read_by_feast() == newest(everything)
        assert all(
            has_rebuilt_day(self.log, group, SYMBOL, DATE, inputs) == (self.inputs == inputs)
            for group in BOTH.groups
            for inputs in ("feed", "cafe")
        )

    def read(self, *, served_only: bool) -> dict[int, tuple[int, float]]:
        try:
            rows, available_ns = self.log.read(SYMBOL, BOTH, from_ns=None, to_ns=None, served_only=served_only)
        except NotFound:
            return {}
        assert np.array_equal(rows.values[:, 0], rows.values[:, 1])
        at = (rows.row_ns - MIDNIGHT_NS) // SECOND_NS
        arrival = available_ns - rows.row_ns
        return dict(zip(at.tolist(), zip(arrival.tolist(), rows.values[:, 0].tolist(), strict=True), strict=True))

    def read_by_feast(self) -> dict[int, tuple[int, float]]:
        """The row of each time that stands for whoever retrieves through Feast; a source that is not there has none."""
        source = FileSource(
            path=str(group_folder(self.folder, PRICE)), timestamp_field="event_timestamp", tags={PERIOD_TAG: PERIOD}
        )
        asked = SourceRows(source, ["symbol"], ["mid"], "event_timestamp", "created_timestamp")
        rows, event_ns, created_ns = asked.read(None, None, None)
        if rows.num_rows == 0:
            return {}
        assert created_ns is not None
        of_time = group_rows([rows["event_timestamp"]], rows.num_rows)
        stands = newest_positions(of_time, event_ns, created_ns)
        at = (event_ns[stands] - MIDNIGHT_NS) // SECOND_NS
        arrival = created_ns[stands] - event_ns[stands]
        values = rows["mid"].to_numpy()[stands]
        return dict(sorted(zip(at.tolist(), zip(arrival.tolist(), values.tolist(), strict=True), strict=True)))


def newest(written: list[tuple[int, int, float]]) -> dict[int, tuple[int, float]]:
    """By second: of the latest created time the row written last."""
    found: dict[int, tuple[int, float]] = {}
    for second, created, value in written:
        if second not in found or created >= found[second][0]:
            found[second] = (created, value)
    return dict(sorted(found.items()))
