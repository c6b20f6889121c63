"""Another version in the place of the one that is served: behind one row, rebuilt bit for bit, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import pytest

from ingestion.messages import TimedMessage
from ingestion.pipeline.change import PROBATION_ROWS, ChangeFailed, EngineChange
from ingestion.pipeline.warming import WarmingPlan
from ingestion.sources.played.recordings import read_recording
from ingestion.tape.compaction import compact_tape
from ingestion.worker.version_change import VersionChanger, Warmed
from market.clock import MINUTE_NS, SECOND_NS, ceil_to
from market.markets import DEFAULT_MARKET
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests import toys
from tests.pipelines import pipeline_in
from tests.restarted import Kept
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.catalogue import FEATURES, feature_set
from transforms.kernel import Kernel, compile_kernel
from transforms.normalisation import Normalisation
from transforms.rows import FeatureSet

RECORDING: Final = "reencoded/BTCUSDT_20240718-19.jsonl.gz"
SYMBOL: Final = "BTCUSDT"
COLUMNS: Final = ("mid_price", "spread_abs", "depth_bid_top5", "volume_1m")
BUDGET_MS: Final = 3.0
Target = Callable[[WarmingPlan, Connection], None]


@pytest.fixture(autouse=True)
def catalogue() -> Iterator[None]:
    toys.declare_toys()
    yield
    toys.remove_toys()


def drawn(seed: int) -> FeatureSet:
    """A version of a few features of the catalogue and of one that it has not, one of them normalised."""
    random = Random(seed)
    names = [name for name in FEATURES if not name.startswith("toy_")]
    chosen = [*random.sample(names, 4), "toy_even", "mid_price"]
    random.shuffle(chosen)
    normalised = [Normalisation("mid_price", random.choice(["z_score", "min_max"]), random.choice([5, 60]))]
    return feature_set(f"{seed}.0.0", chosen, normalised)


class Running:
    """A pipeline whose messages come as the test wants, and a changer of its version."""

    def __init__(self, folder: Path, columns: FeatureSet, cache: Path, recording: Path, target: Target) -> None:
        self.raw = folder / "raw"
        self.kept = Kept()
        self.kernel = compile_kernel(columns, cache)
        self.pipeline = pipeline_in(self.raw, self.kernel, self.kept, tape_sync_ms=1)
        plan = WarmingPlan(columns, cache, self.raw, DEFAULT_MARKET, SECOND_NS)
        self.changer = VersionChanger(self.pipeline, plan, budget_ms=BUDGET_MS, warm_up=target)
        self._messages = (each for each in read_recording(recording) if isinstance(each, TimedMessage))
        self.now_ns = 0

    def play(self, span_ns: int) -> None:
        """What comes in so long a time, and the rows of it."""
        first = next(self._messages)
        until_ns = max(self.now_ns, first.recv_ns) + span_ns
        for message in (first, *self._until(until_ns)):
            self.now_ns = message.recv_ns
            self.pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
            self.pipeline.handle(message)

    def _until(self, until_ns: int) -> Iterator[TimedMessage]:
        for message in self._messages:
            yield message
            if message.recv_ns >= until_ns:
                return

    def prepared(self, columns: FeatureSet) -> Warmed:
        """The change to a version, ready, while messages came in. Raises what its preparation raised."""
        found: list[Warmed] = []
        failures: list[BaseException] = []

        def prepare() -> None:
            try:
                found.append(self.changer.prepare(self.kernel, columns, is_wanted=lambda: True))
            except BaseException as error:  # noqa: BLE001  # raised below
                failures.append(error)

        preparing = threading.Thread(target=prepare)
        preparing.start()
        while preparing.is_alive():
            self.play(SECOND_NS // 5)
            preparing.join(0.1)
        if failures:
            raise failures[0]
        return found[0]

    def changed(self, change: EngineChange) -> None:
        """Play until it is decided."""
        while not change.is_over:
            self.play(SECOND_NS)

    def versions(self) -> list[tuple[int, str]]:
        """Row time and version of every row, in order."""
        return [
            (row_ns, each.rows.feature_set.version) for each in self.kept.served for row_ns in each.rows.row_ns.tolist()
        ]


@contextmanager
def running(
    folder: Path, columns: FeatureSet, cache: Path, recorded: Path, target: Target = toys.warm_up_with_toys
) -> Iterator[Running]:
    found = Running(folder, columns, cache, recorded / RECORDING, target)
    try:
        found.play(2 * MINUTE_NS)
        yield found
    finally:
        found.pipeline.close()


def assert_rebuilt(running: Running, *kernels: Kernel) -> None:
    """No second is missing or twice there, and each row is that of a rebuild with its version, to the bit."""
    row_ns = [row_ns for row_ns, _ in running.versions()]
    assert row_ns == list(range(row_ns[0], row_ns[-1] + 1, SECOND_NS))
    compact_tape(running.raw, SYMBOL, InstrumentPins(running.raw))
    for kernel in kernels:
        rebuilt = rebuild_rows(RawData(running.raw), SYMBOL, kernel)
        of_version = [each.rows for each in running.kept.served if each.rows.feature_set is kernel.feature_set]
        assert of_version
        for rows in of_version:
            at = np.searchsorted(rebuilt.row_ns, rows.row_ns)
            assert rebuilt.values[at].tobytes() == rows.values.tobytes()
            assert rebuilt.status[at].tobytes() == rows.status.tobytes()


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 12))])
def test_rows_behind_a_change_are_those_of_a_rebuild_with_the_new_version_and_none_is_missing(
    tmp_path: Path, kernel_cache: Path, recorded_data: Path, seed: int
) -> None:
    before, after = feature_set("0.1.0", COLUMNS), drawn(seed)
    compile_kernel(after, kernel_cache).warm_up()  # the recording does not last as long as that may take
    with running(tmp_path, before, kernel_cache, recorded_data) as found:
        warmed = found.prepared(after)
        assert warmed.compared > 60
        boundary_ns = ceil_to(found.now_ns + SECOND_NS, SECOND_NS)
        warmed.change.ask_for(boundary_ns)
        found.changed(warmed.change)
        assert (warmed.change.failure, warmed.change.changed_ns) == (None, boundary_ns)
        found.play(30 * SECOND_NS)
        assert all((version == after.version) == (row_ns > boundary_ns) for row_ns, version in found.versions())
        assert all(lane.follower is None for lane in found.pipeline.lanes.values())
    assert_rebuilt(found, found.kernel, warmed.change.kernel)


@pytest.mark.parametrize(
    ("toy", "reason"),
    [
        pytest.param("toy_text", "TypingError", marks=pytest.mark.soak),
        ("toy_raises", "ValueError: toy_raises: no row can be computed"),
        pytest.param("toy_slow", r"cost of a row: must be at most 3 ms, was \d", marks=pytest.mark.soak),
    ],
)
def test_a_version_that_does_not_compile_raises_or_costs_too_much_is_refused_and_no_row_is_missed(
    tmp_path: Path, kernel_cache: Path, recorded_data: Path, toy: str, reason: str
) -> None:
    before = feature_set("0.1.0", COLUMNS)
    with running(tmp_path, before, kernel_cache, recorded_data) as found:
        with pytest.raises(ChangeFailed, match=reason):
            found.prepared(feature_set("9.0.0", ["mid_price", toy]))
        found.play(5 * SECOND_NS)
        assert {version for _, version in found.versions()} == {"0.1.0"}
    assert_rebuilt(found, found.kernel)


def test_a_version_that_raises_behind_the_change_gives_way_at_that_very_row(
    tmp_path: Path, kernel_cache: Path, recorded_data: Path
) -> None:
    before, after = feature_set("0.1.0", COLUMNS), feature_set("9.0.0", ["mid_price", "toy_raises_late"])
    with running(tmp_path, before, kernel_cache, recorded_data) as found:
        warmed = found.prepared(after)
        assert found.now_ns < toys.RAISES_FROM_NS - PROBATION_ROWS * SECOND_NS
        boundary_ns = toys.RAISES_FROM_NS - 3 * SECOND_NS
        warmed.change.ask_for(boundary_ns)
        found.changed(warmed.change)
        assert warmed.change.failure is not None
        assert "toy_raises_late: no row can be computed any more" in warmed.change.failure
        found.play(30 * SECOND_NS)
        of_after = [row_ns for row_ns, version in found.versions() if version == "9.0.0"]
        assert of_after == [boundary_ns + SECOND_NS, boundary_ns + 2 * SECOND_NS]
    assert_rebuilt(found, found.kernel)


@pytest.mark.soak
def test_a_version_whose_columns_have_other_bits_is_refused(
    tmp_path: Path, kernel_cache: Path, recorded_data: Path
) -> None:
    before, after = feature_set("0.1.0", COLUMNS), feature_set("0.2.0", [*COLUMNS, "toy_even"])
    compile_kernel(after, kernel_cache).warm_up()  # else the row would not be remembered any more
    with running(tmp_path, before, kernel_cache, recorded_data) as found:
        for rows in found.pipeline.lanes[SYMBOL].closed.remembered[-5:-4]:
            rows.values[0, 0] = np.nextafter(rows.values[0, 0], np.inf)
        with pytest.raises(ChangeFailed, match=r"BTCUSDT mid_price at .*: must have the bits that were served"):
            found.prepared(after)


def exits(_plan: WarmingPlan, _connection: Connection) -> None:
    raise SystemExit(3)


def test_a_process_that_dies_while_it_warms_up_costs_the_version_alone(
    tmp_path: Path, kernel_cache: Path, recorded_data: Path
) -> None:
    before = feature_set("0.1.0", COLUMNS)
    with running(tmp_path, before, kernel_cache, recorded_data, exits) as found:
        with pytest.raises(ChangeFailed, match="warming up: must end with engines, ended with 3"):
            found.prepared(feature_set("0.2.0", [*COLUMNS, "toy_even"]))
        found.play(5 * SECOND_NS)
        assert {version for _, version in found.versions()} == {"0.1.0"}


def test_the_statuses_of_a_symbol_are_those_of_its_newest_row_until_the_new_version_has_one(
    tmp_path: Path, kernel_cache: Path, recorded_data: Path
) -> None:
    with running(tmp_path, feature_set("0.1.0", COLUMNS), kernel_cache, recorded_data) as found:
        found.prepared(feature_set("0.2.0", ["mid_price"]))
        lane = found.pipeline.lanes[SYMBOL]
        before = lane.closed.statuses
        assert lane.follower is not None
        lane.follower.close(lane.closed.until_ns)
        lane.change_engine()
        assert lane.closed.statuses == before
        assert set(before) == {group.name for group in found.kernel.feature_set.groups}
