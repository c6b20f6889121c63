"""Rebuilding by day: a recording over midnight agrees with one sequential run to the bit, and nothing is done twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import RejectedLine
from ingestion.sources.played.recordings import read_recording
from ingestion.tape.compaction import compact_tape
from ingestion.venues.bybit.decode import Decoder
from market.clock import DAY_NS, SECOND_NS, floor_to
from market.errors import InvalidRequest, NotFound
from market.events import FIRST, LAST, TRADE, empty_events
from market.instruments import Instrument
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.parts import group_folder
from storage.instruments import InstrumentPins
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter
from training_sets.builds.verification import verify_parity
from training_sets.engines.pool import Pool
from training_sets.rebuild.days import DayRange, count_days, rebuild_days
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.raw_history import RawHistory
from training_sets.rebuild.rebuild import rebuild_rows, rebuild_rows_at
from training_sets.rebuild.runs import RebuiltDay
from transforms.catalogue import feature_set
from transforms.engine import Engine
from transforms.kernel import compile_kernel
from transforms.rows import FeatureRows

MIDNIGHT = "reencoded/BTCUSDT_20240718-19.jsonl.gz"
SYMBOL = "BTCUSDT"
# One book feature and one of trades with short horizons: the second day starts from a snapshot inside the first.
SHORT = feature_set("0.0.1", ["mid_price", "spread_abs", "vwap_3s", "volume_3s"])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, recorded_data: Path) -> Path:
    """The recording on a tape of small segments, compacted."""
    folder = tmp_path_factory.mktemp("midnight") / "raw"
    pins = InstrumentPins(folder)
    decoder = Decoder(pins)
    with TapeWriter(folder, SYMBOL, segment_bytes=200_000) as writer:
        for message in read_recording(recorded_data / MIDNIGHT):
            assert not isinstance(message, RejectedLine)
            decoder.decode(message.body)  # pins the scale
            writer.append(message.recv_ns, message.body)
    compact_tape(folder, SYMBOL, pins)
    return folder


def task(raw: Path, features: Path, kernel_cache: Path, version: str = "1.0.0") -> Rebuild:
    return Rebuild(RawData(raw), FeatureLog(features), kernel_cache, SYMBOL, load_registry_version(version).feature_set)


def run(
    rebuild: Rebuild, *, workers: int = 1, from_ns: int | None = None, to_ns: int | None = None
) -> list[RebuiltDay]:
    engine = Pool(workers) if workers > 1 else None
    days = rebuild_days([DayRange(rebuild, from_ns, to_ns)], engine=engine)
    return sorted(days, key=lambda day: day.date)


def rows_of(rebuild: Rebuild) -> FeatureRows:
    return rebuild.features.read(SYMBOL, rebuild.feature_set, from_ns=None, to_ns=None)[0]


def assert_same_bits(one: FeatureRows, other: FeatureRows) -> None:
    assert np.array_equal(one.row_ns, other.row_ns)
    assert np.array_equal(one.values.view(np.int64), other.values.view(np.int64))
    assert np.array_equal(one.status, other.status)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("chosen", ["1.0.0", "short"])
def test_days_of_a_real_recording_stitched_are_one_sequential_run_to_the_bit(
    raw: Path, tmp_path: Path, kernel_cache: Path, workers: int, chosen: str
) -> None:
    rebuild = task(raw, tmp_path, kernel_cache)
    if chosen == "short":
        rebuild = replace(rebuild, feature_set=SHORT)
    days = run(rebuild, workers=workers)
    assert [day.date for day in days] == ["2024-07-18", "2024-07-19"]
    sequential = rebuild_rows(RawData(raw), SYMBOL, compile_kernel(rebuild.feature_set, kernel_cache))
    first_ns, last_ns = RawData(raw).period(SYMBOL)
    assert len(sequential) == last_ns // SECOND_NS - first_ns // SECOND_NS == sum(day.rows for day in days)
    assert np.isfinite(sequential.values).any()
    assert_same_bits(rows_of(rebuild), sequential)
    assert count_days(DayRange(rebuild)) == 2


def test_no_process_is_begun_for_less_than_it_is_worth(raw: Path, tmp_path: Path, kernel_cache: Path) -> None:
    rebuild = replace(task(raw, tmp_path, kernel_cache), feature_set=SHORT)
    days = rebuild_days([DayRange(rebuild)], engine=Pool(2), worth_engine=1_000_000_000)
    assert next(days).rows > 0
    assert active_children() == []
    assert len(list(days)) == 1


def test_a_day_whose_raw_data_and_code_are_the_same_is_not_computed_again(
    raw: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    rebuild = task(raw, tmp_path, kernel_cache)
    midnight_ns = floor_to(RawData(raw).period(SYMBOL)[1], DAY_NS)
    assert [day.rows > 0 for day in run(rebuild, from_ns=midnight_ns)] == [True]
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    days = run(rebuild)
    assert [(day.date, day.rows > 0) for day in days] == [("2024-07-18", True), ("2024-07-19", False)]
    assert all(path.stat().st_mtime_ns == mtime for path, mtime in files.items())
    assert [day.rows for day in run(rebuild)] == [0, 0]


def test_versions_share_days_and_a_partly_covered_one_computes_only_the_missing_groups(
    raw: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    rebuild = task(raw, tmp_path, kernel_cache)
    run(rebuild)
    short = replace(rebuild, feature_set=feature_set("0.0.2", ["mid_price", "vwap_3s"]))
    assert [day.groups for day in run(short)] == [(), ()]
    assert_same_bits(
        rows_of(short), rebuild_rows(RawData(raw), SYMBOL, compile_kernel(short.feature_set, kernel_cache))
    )
    group = next(group for group in rebuild.feature_set.groups if group.name == "orderflow")
    for path in group_folder(tmp_path, group).rglob("date=2024-07-19/*.parquet"):
        path.unlink()
    assert [day.groups for day in run(rebuild)] == [(), ("orderflow",)]
    assert_same_bits(
        rows_of(rebuild), rebuild_rows(RawData(raw), SYMBOL, compile_kernel(rebuild.feature_set, kernel_cache))
    )


def test_a_version_with_more_columns_of_a_group_computes_it_and_the_smaller_file_goes(
    raw: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    rebuild = task(raw, tmp_path, kernel_cache)
    run(replace(rebuild, feature_set=feature_set("0.0.2", ["mid_price"])))
    assert all("price" in day.groups for day in run(rebuild))
    assert_same_bits(
        rows_of(rebuild), rebuild_rows(RawData(raw), SYMBOL, compile_kernel(rebuild.feature_set, kernel_cache))
    )
    assert len(list((tmp_path / "price").rglob("*.parquet"))) == 2


def test_a_day_that_got_more_raw_data_is_computed_again_and_the_old_file_goes(
    raw: Path, tmp_path: Path, kernel_cache: Path, recorded_data: Path
) -> None:
    growing = tmp_path / "raw"
    pins = InstrumentPins(growing)
    decoder = Decoder(pins)
    messages = [each for each in read_recording(recorded_data / MIDNIGHT) if not isinstance(each, RejectedLine)][:3000]
    rebuild = task(growing, tmp_path / "features", kernel_cache)
    for some in (messages[:2000], messages[2000:]):
        with TapeWriter(growing, SYMBOL) as writer:
            for message in some:
                decoder.decode(message.body)
                writer.append(message.recv_ns, message.body)
        compact_tape(growing, SYMBOL, pins)
        (day,) = run(rebuild)
        assert day.rows > 0
    assert len(list((tmp_path / "features" / "price").rglob("*.parquet"))) == 1
    assert_same_bits(
        rows_of(rebuild), rebuild_rows(RawData(growing), SYMBOL, compile_kernel(rebuild.feature_set, kernel_cache))
    )


def test_two_rebuilds_of_one_day_at_once_compute_it_once(raw: Path, tmp_path: Path, kernel_cache: Path) -> None:
    rebuild = task(raw, tmp_path, kernel_cache)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(run, [rebuild, rebuild]))
    for one, other in zip(*both, strict=True):
        assert min(one.rows, other.rows) == 0 < max(one.rows, other.rows)
    assert_same_bits(
        rows_of(rebuild), rebuild_rows(RawData(raw), SYMBOL, compile_kernel(rebuild.feature_set, kernel_cache))
    )


def test_parity_compares_what_was_served_and_not_what_a_rebuild_wrote_beside_it(
    raw: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    rebuild = task(raw, tmp_path, kernel_cache)
    kernel = compile_kernel(rebuild.feature_set, kernel_cache)
    served = rebuild_rows(RawData(raw), SYMBOL, kernel)
    wrong = served.values.copy()
    wrong[7, 0] += 1
    with FeatureLogWriter(tmp_path) as log:
        log.append(replace(served, values=wrong), served.row_ns + 1)
    run(rebuild)
    parity = verify_parity(RawHistory.of(RawData(raw)), FeatureLog(tmp_path), kernel)
    assert (parity.compared, parity.mismatched, parity.missing, parity.extra) == (len(served), 1, 0, 0)
    assert_same_bits(rows_of(rebuild), served)


def test_parity_counts_day_by_day_what_one_side_lacks(raw: Path, tmp_path: Path, kernel_cache: Path) -> None:
    kernel = compile_kernel(SHORT, kernel_cache)
    whole = rebuild_rows(RawData(raw), SYMBOL, kernel)
    midnight_ns = floor_to(int(whole.row_ns[-1]), DAY_NS)
    of_today = whole.row_ns >= midnight_ns
    # Two days before the raw data begin, and today but its last rows: nothing of yesterday.
    early = FeatureRows(SYMBOL, SHORT, whole.row_ns[:9] - 2 * DAY_NS, whole.values[:9], whole.status[:9])
    today = FeatureRows(
        SYMBOL, SHORT, whole.row_ns[of_today][:-5], whole.values[of_today][:-5] + 1, whole.status[of_today][:-5]
    )
    with FeatureLogWriter(tmp_path) as log:
        for rows in (early, today):
            log.append(rows, rows.row_ns + 1)
    parity = verify_parity(RawHistory.of(RawData(raw)), FeatureLog(tmp_path), kernel)
    assert (parity.compared, parity.missing, parity.extra) == (len(today), int((~of_today).sum()), 9)
    assert parity.mismatched > 0
    assert parity.first_divergence is not None
    assert parity.first_divergence.row_ns == int(early.row_ns[0])
    assert (
        verify_parity(
            RawHistory.of(RawData(raw)), FeatureLog(tmp_path), compile_kernel(SHORT, kernel_cache), symbols=[SYMBOL]
        )
        == parity
    )


def test_a_period_outside_of_the_raw_data_is_refused(raw: Path, tmp_path: Path, kernel_cache: Path) -> None:
    with pytest.raises(InvalidRequest, match="must reach into the raw data"):
        run(task(raw, tmp_path, kernel_cache), to_ns=1)
    with pytest.raises(NotFound, match="raw Parquet of ETHUSDT"):
        run(replace(task(raw, tmp_path, kernel_cache), symbol="ETHUSDT"))


def test_history_begins_with_the_first_message_though_a_later_one_states_an_earlier_moment(
    tmp_path: Path, kernel_cache: Path
) -> None:
    """As when queues are drained side by side: what comes late is raised to the boundary that is closed."""
    day_ns = 20_000 * DAY_NS
    kernel = compile_kernel(feature_set("0.0.1", ["vwap_3s", "volume_3s"]), kernel_cache)
    trades = empty_events(20)
    trades["seq"] = range(1, 21)
    trades["recv_ns"] = day_ns + np.arange(20) * SECOND_NS // 2
    trades["recv_ns"][:2] = day_ns + 9 * SECOND_NS // 10, day_ns
    trades["kind"], trades["px"], trades["qty"] = TRADE, 65_000_000, 1_000
    trades["flags"] = FIRST | LAST
    instrument = Instrument(SYMBOL, 3, 6)
    write_events(tmp_path, instrument, trades, part="0")

    served = Engine(kernel, instrument)
    served.feed(trades)
    rows = served.advance(day_ns + 9 * SECOND_NS)
    assert np.isnan(rows.values[:3]).all()
    assert not np.isnan(rows.values[3:]).any()
    assert_same_bits(rows, rebuild_rows(RawData(tmp_path), SYMBOL, kernel))


def test_rows_at_chosen_ticks_are_those_that_were_served_at_them(tmp_path: Path, kernel_cache: Path) -> None:
    day_ns = 20_000 * DAY_NS
    kernel = compile_kernel(feature_set("0.0.1", ["vwap_3s", "volume_3s"]), kernel_cache)
    trades = empty_events(400)
    trades["seq"] = range(1, 401)
    trades["recv_ns"] = day_ns + np.arange(400) * 37_000_003
    trades["kind"], trades["px"], trades["qty"] = TRADE, 65_000_000 + np.arange(400), 1_000
    trades["flags"] = FIRST | LAST
    instrument = Instrument(SYMBOL, 3, 6)
    write_events(tmp_path, instrument, trades, part="0")

    grid_ns = SECOND_NS // 20
    served = Engine(kernel, instrument, grid_ns=grid_ns)
    served.feed(trades)
    pieces = [served.advance(day_ns + tick * grid_ns) for tick in range(2, 320)]
    by_time = {int(row_ns): piece.values[at] for piece in pieces for at, row_ns in enumerate(piece.row_ns)}
    chosen = np.array(sorted(by_time)[5::7])
    rebuilt = rebuild_rows_at(RawData(tmp_path), SYMBOL, kernel, chosen)
    assert rebuilt.row_ns.tolist() == chosen.tolist()
    assert rebuilt.values.tobytes() == np.stack([by_time[row_ns] for row_ns in chosen.tolist()]).tobytes()
    assert not np.isnan(rebuilt.values[-1]).any()
    for wrong in (day_ns, day_ns + 3 * grid_ns + 1, day_ns + DAY_NS):
        with pytest.raises(InvalidRequest, match=f"rebuild of {SYMBOL}"):
            rebuild_rows_at(RawData(tmp_path), SYMBOL, kernel, np.array([wrong]))
