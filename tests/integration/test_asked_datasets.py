"""A dataset of times at which a model asks holds, to the bit, what a reader would have been given at each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import InvalidRequest
from quality.parity import Parity
from storage.features.history_lags import AVAILABILITY_DELAY_NS
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.served_ticks import ServedTickWriter
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.asked_samples import (
    END_NS,
    GRID_NS,
    READ_DELAY_NS,
    START_NS,
    SYMBOLS,
    Int64s,
    around,
    asked_of_feast,
    check,
    check_of_feast,
    moments,
)
from tests.build_places import UNGATED, place_in
from tests.pipelines import pipeline_in
from training_sets.builds.builder import build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.builds.tick_parity import TickChoice
from training_sets.builds.verification import verify_parity
from training_sets.rebuild.raw_history import RawHistory
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows, joined_rows

SILENT_NS = START_NS + 60 * SECOND_NS + 333 * MILLISECOND_NS
"""From here on the second symbol says nothing for fifteen seconds."""


class Given:
    """A sink that keeps every row that readers are given, and logs those at whole seconds."""

    def __init__(self, folder: Path) -> None:
        self.rows: dict[str, list[FeatureRows]] = {}
        self._log = FeatureLogWriter(folder)

    def write(self, served: Sequence[ServedRows]) -> None:
        for each in served:
            self.rows.setdefault(each.rows.symbol, []).append(each.rows)
            logged = each.whole_seconds()
            self._log.append(logged.rows, logged.available_ns)

    def close(self) -> None:
        self._log.close()


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, kernel: Kernel) -> tuple[Path, dict[str, FeatureRows]]:
    """A folder of three minutes, and the rows that were given by a worker which closes every tick."""
    folder = tmp_path_factory.mktemp("asked")
    sink = Given(folder / "features")
    pipeline = pipeline_in(folder / "raw", kernel, sink, grid_ns=GRID_NS)
    tick_ns = START_NS
    try:
        for message in simulate(DEFAULT_SYMBOLS, seed=5, start_ns=START_NS, duration_ns=END_NS - START_NS):
            while tick_ns <= message.recv_ns:
                pipeline.advance(tick_ns, now_ns=tick_ns)
                tick_ns += GRID_NS
            is_silent = b"ETHUSDT" in message.body and 0 <= message.recv_ns - SILENT_NS < 15 * SECOND_NS
            if not is_silent:
                pipeline.handle(message)
        pipeline.advance(END_NS, now_ns=END_NS)
    finally:
        pipeline.close()
    for symbol in SYMBOLS:
        compact_tape(folder / "raw", symbol, InstrumentPins(folder / "raw"))
    return folder, {symbol: joined_rows(rows) for symbol, rows in sink.rows.items()}


@pytest.fixture
def place(market: tuple[Path, object], tmp_path: Path, kernel_cache: Path) -> BuildPlace:
    folder, _ = market
    return place_in(
        tmp_path,
        kernel_cache,
        raw=folder / "raw",
        features=folder / "features",
        rules=dataclasses.replace(UNGATED, row_grid_ns=GRID_NS),
    )


def request_at(times_ns: Int64s, **changes: Any) -> DatasetRequest:  # noqa: ANN401  # fields of the request
    asked = DatasetRequest(
        symbols=SYMBOLS,
        strategy=TimeBased(default_periods(START_NS, END_NS)),
        targets=(RegressionTarget(5 * SECOND_NS),),
        registry_version="1.0.0",
        sample_kind="at_time",
        sample_times_ns=tuple(times_ns.tolist()),
        read_delay_ns=READ_DELAY_NS,
        purge=True,
    )
    return dataclasses.replace(asked, **changes)


def test_samples_at_any_moment_are_the_ticks_that_a_reader_would_have_had(
    market: tuple[Path, dict[str, FeatureRows]], place: BuildPlace, tmp_path: Path
) -> None:
    _, given = market
    times_ns = moments(400, seed=1)
    built = build_dataset(request_at(times_ns), place, tmp_path / "dataset")
    available_ns = {symbol: rows.row_ns + AVAILABILITY_DELAY_NS for symbol, rows in given.items()}
    assert check(built, given, available_ns) > 1000
    assert built.manifest["samples"]["kind"] == "at_time"
    assert built.manifest["samples"]["answers_by_the_record_of_what_was_served"] == 0
    assert built.manifest["rules"]["row_grid_ms"] == 100
    assert built.manifest["leakage"]["rows_rebuilt_from_their_past"] >= 8
    check_of_feast(*asked_of_feast(place, tmp_path / "repository", around(times_ns)), given, available_ns)
    # A silent symbol is answered with the last tick that had a message, or a whole second since.
    assert built.manifest["samples"]["row_age_ms"]["most"] > 300


def test_where_rows_were_served_the_record_says_which_could_be_read(
    market: tuple[Path, dict[str, FeatureRows]], place: BuildPlace, tmp_path: Path
) -> None:
    folder, given = market
    draw = np.random.default_rng(2)
    served, available_ns = {}, {}
    with_record = tmp_path / "features"
    writer = ServedTickWriter(with_record)
    for symbol, all_rows in given.items():
        # Whole ticks are skipped under load, and some rows come late.
        kept = np.flatnonzero((draw.random(len(all_rows)) < 0.6) | (all_rows.row_ns % SECOND_NS == 0))
        values, status = all_rows.values[kept], all_rows.status[kept]
        rows = FeatureRows(symbol, all_rows.feature_set, all_rows.row_ns[kept], values, status)
        served[symbol] = rows
        available_ns[symbol] = rows.row_ns + draw.integers(2, 900, len(rows)) * MILLISECOND_NS
        writer.append(rows, available_ns[symbol])
    writer.close()
    for group in (folder / "features").glob("[!.]*"):
        (with_record / group.name).symlink_to(group)
    recorded = dataclasses.replace(place, features=FeatureLog(with_record))
    built = build_dataset(request_at(moments(400, seed=3)), recorded, tmp_path / "dataset")
    assert check(built, served, available_ns) > 1000
    times_ns = np.append(around(moments(400, seed=3)), END_NS + 58 * SECOND_NS)
    check_of_feast(*asked_of_feast(recorded, tmp_path / "repository", times_ns), served, available_ns)
    samples = built.manifest["samples"]
    assert samples["answers"] == samples["answers_by_the_record_of_what_was_served"] > 1000
    assert built.manifest["served_partitions"]


def test_at_an_interval_the_answer_of_a_whole_second_is_an_earlier_tick(
    market: tuple[Path, dict[str, FeatureRows]], place: BuildPlace, tmp_path: Path
) -> None:
    _, given = market
    built = build_dataset(request_at(np.empty(0, np.int64)), place, tmp_path / "dataset")
    available_ns = {symbol: rows.row_ns + AVAILABILITY_DELAY_NS for symbol, rows in given.items()}
    assert check(built, given, available_ns) > 200
    assert built.manifest["samples"]["row_age_ms"]["least"] == 100


def test_times_that_cannot_be_sampled_are_refused() -> None:
    times_ns = np.array([START_NS + 5, START_NS + 9])
    for changes, rule in (
        ({"sample_kind": "on_row"}, "for at_time samples, was 2 for on_row"),
        ({"sample_times_ns": (START_NS + 9, START_NS + 5)}, "must be ascending"),
        ({"sample_times_ns": (END_NS,)}, "must lie in the periods"),
        ({"read_delay_ns": -1}, "read_delay_ms: must be 0 to"),
    ):
        with pytest.raises(InvalidRequest, match=rule):
            request_at(times_ns, **changes)


def test_what_readers_were_given_is_computed_again_and_compared_by_its_digest(
    market: tuple[Path, dict[str, FeatureRows]], tmp_path: Path, kernel: Kernel
) -> None:
    folder, given = market
    features = tmp_path / "features"
    writer = ServedTickWriter(features)
    for rows in given.values():
        writer.append(rows, rows.row_ns + AVAILABILITY_DELAY_NS)
    writer.close()
    for group in (folder / "features").glob("[!.]*"):
        (features / group.name).symlink_to(group)

    def parity(choice: TickChoice) -> Parity:
        return verify_parity(RawHistory.of(RawData(folder / "raw")), FeatureLog(features), kernel, ticks=choice)

    every = parity(TickChoice(None))
    total = sum(map(len, given.values()))
    assert every.is_exact
    assert (every.ticks_recorded, every.ticks_compared, every.ticks_mismatched) == (total, total, 0)
    some = parity(TickChoice(50, seed=3))
    assert (some.is_exact, some.ticks_compared) == (True, 100)
    # One bit of one tick that was given between seconds.
    rows = given["ETHUSDT"]
    other = FeatureRows(rows.symbol, rows.feature_set, rows.row_ns[7:8], rows.values[7:8].copy(), rows.status[7:8])
    other.values[0, 0] = np.nextafter(other.values[0, 0], np.inf)
    writer = ServedTickWriter(features)
    writer.append(other, other.row_ns + SECOND_NS)
    writer.close()
    damaged = parity(TickChoice(None))
    assert (damaged.is_exact, damaged.ticks_mismatched) == (False, 1)
    assert damaged.first_divergence is not None
    assert damaged.first_divergence.row_ns == int(rows.row_ns[7])
