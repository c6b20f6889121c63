"""Rows at ticks of the grid: whose they are, that the tape gives them again, and what a restart may not change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ingestion.messages import TimedMessage
from ingestion.pipeline.silence import ROWS_AT_ONCE
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, floor_to, format_iso
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.raw.raw_data import RawData
from storage.tape import read_tape
from tests.tick_rows import BEGIN_NS, GRID_NS, SYMBOLS, Given, Served, assert_rebuilt, serving, take
from training_sets.builds.verification import verify_parity
from training_sets.rebuild.raw_history import RawHistory
from transforms.catalogue import feature_set
from transforms.kernel import Kernel, compile_kernel
from transforms.state import GRIDS_NS

CHOSEN = feature_set("0.0.1", ["depth_bid_top5", "volume_3s", "mid_price", "position_size"])


@pytest.fixture(scope="module")
def messages() -> list[TimedMessage]:
    return list(simulate(DEFAULT_SYMBOLS[:2], seed=4, start_ns=BEGIN_NS, duration_ns=6 * SECOND_NS))


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(CHOSEN, kernel_cache)
    kernel.warm_up()
    return kernel


def cut_before_a_tick(messages: Sequence[TimedMessage]) -> tuple[int, list[TimedMessage], list[TimedMessage]]:
    """A tick, the messages of which each symbol has some in its row, and those of which some are before the tick."""
    for tick_ns in range(BEGIN_NS + 2 * SECOND_NS + GRID_NS, BEGIN_NS + 5 * SECOND_NS, GRID_NS):
        cut_ns = tick_ns - GRID_NS // 2
        near = [each for each in messages if tick_ns - GRID_NS <= each.recv_ns < tick_ns]
        has_known = all(any(s.encode() in each.body and each.recv_ns < cut_ns for each in near) for s in SYMBOLS)
        if tick_ns % SECOND_NS and has_known and any(each.recv_ns >= cut_ns for each in near):
            known = [each for each in messages if each.recv_ns < cut_ns]
            return tick_ns, known, list(messages[len(known) :])
    raise AssertionError("the simulated market must be busy enough")


def test_between_seconds_a_symbol_has_a_row_at_each_tick_that_a_message_is_in_and_at_every_second(
    tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    silent_from_ns = BEGIN_NS + 4 * SECOND_NS
    until_ns = BEGIN_NS + 8 * SECOND_NS
    quiet = SYMBOLS[1].encode()
    given = [each for each in messages if quiet not in each.body or each.recv_ns < silent_from_ns]
    with serving(tmp_path, kernel) as (pipeline, served):
        take(pipeline, given, until_ns=until_ns)
    for symbol in SYMBOLS:
        stamps = np.array([frame.recv_ns for frame in read_tape(tmp_path, symbol)])
        ticks = floor_to(int(stamps[0]), GRID_NS) + GRID_NS
        expected = [
            tick_ns
            for tick_ns in range(ticks, until_ns + 1, GRID_NS)
            if tick_ns % SECOND_NS == 0 or ((stamps >= tick_ns - GRID_NS) & (stamps < tick_ns)).any()
        ]
        assert served.times(symbol) == expected
        before_ns = 0
        for each in served.rows[symbol]:
            row_ns = int(each.rows.row_ns[-1])
            in_row = stamps[(stamps >= before_ns) & (stamps < row_ns)]
            assert each.newest_recv_ns == (int(in_row.max()) if len(in_row) else None)
            before_ns = row_ns
        assert len([each for each in expected if each % SECOND_NS]) > 10
    assert not [each for each in served.times(SYMBOLS[1]) if each % SECOND_NS and each > silent_from_ns + GRID_NS]
    assert pipeline.counters.rows == sum(not each % SECOND_NS for symbol in SYMBOLS for each in served.times(symbol))
    assert pipeline.counters.tick_rows + pipeline.counters.rows == sum(len(served.times(symbol)) for symbol in SYMBOLS)
    assert_rebuilt(tmp_path, kernel, served)


@pytest.fixture(scope="module")
def of_whole_seconds(
    tmp_path_factory: pytest.TempPathFactory, kernel: Kernel, messages: list[TimedMessage]
) -> tuple[Served, list[int]]:
    """What a grid of one second serves, and the stamps on the tape of the first symbol."""
    raw = tmp_path_factory.mktemp("seconds")
    with serving(raw, kernel, grid_ns=SECOND_NS) as (pipeline, served):
        take(pipeline, messages, until_ns=BEGIN_NS + 7 * SECOND_NS, grid_ns=SECOND_NS)
    assert pipeline.counters.tick_rows == 0
    assert_rebuilt(raw, kernel, served)
    return served, [frame.recv_ns for frame in read_tape(raw, SYMBOLS[0])]


@pytest.mark.parametrize("grid_ns", GRIDS_NS)
def test_every_grid_serves_the_rows_of_a_grid_of_whole_seconds_and_its_own_ticks_between(
    tmp_path: Path,
    kernel: Kernel,
    messages: list[TimedMessage],
    of_whole_seconds: tuple[Served, list[int]],
    grid_ns: int,
) -> None:
    """On time no message is late on any grid, so all of them have the same tape."""
    seconds, stamps = of_whole_seconds
    until_ns = BEGIN_NS + 7 * SECOND_NS
    with serving(tmp_path, kernel, grid_ns=grid_ns) as (pipeline, served):
        take(pipeline, messages, until_ns=until_ns, grid_ns=grid_ns)
    assert pipeline.late_messages == 0
    assert [frame.recv_ns for frame in read_tape(tmp_path, SYMBOLS[0])] == stamps
    for symbol in SYMBOLS:
        at_seconds = {row_ns: row for row_ns, row in served.bits(symbol).items() if row_ns % SECOND_NS == 0}
        assert at_seconds == seconds.bits(symbol)
        begun_ns = floor_to(min(at_seconds), SECOND_NS)
        assert list(at_seconds) == list(range(begun_ns, until_ns + 1, SECOND_NS))
        between = [row_ns for row_ns in served.times(symbol) if row_ns % SECOND_NS]
        assert all(row_ns % grid_ns == 0 for row_ns in between)
        assert bool(between) == (grid_ns < SECOND_NS)
    assert_rebuilt(tmp_path, kernel, served)


def test_a_position_is_in_the_vector_with_the_next_tick(
    tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    at = kernel.feature_set.columns.index("position_size")
    with serving(tmp_path, kernel) as (pipeline, served):
        take(pipeline, messages, until_ns=BEGIN_NS + 7 * SECOND_NS)
        known = len(served.rows[SYMBOLS[0]])
        recv_ns = BEGIN_NS + 7 * SECOND_NS + 130 * MILLISECOND_NS
        stamp = format_iso(recv_ns).removesuffix("Z")
        update = {"event_type": "position_updated", "position_id": "1", "asset": SYMBOLS[0], "size": "-0.5"}
        body = json.dumps({**update, "timestamp": stamp}).encode()
        take(pipeline, [TimedMessage(recv_ns, body)], until_ns=BEGIN_NS + 7 * SECOND_NS + 700 * MILLISECOND_NS)
    [given] = served.rows[SYMBOLS[0]][known:]
    assert given.rows.row_ns.tolist() == [BEGIN_NS + 7 * SECOND_NS + 200 * MILLISECOND_NS]
    assert given.rows.values[0, at] == -0.5
    assert_rebuilt(tmp_path, kernel, served)


def test_a_message_that_comes_after_its_tick_was_served_is_raised_to_it(
    tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    """Trades come 70 ms late: the row before it stands, and the tape says what was known when."""
    late = [
        (each.recv_ns + 70 * MILLISECOND_NS * (b'"publicTrade' in each.body), at, each)
        for at, each in enumerate(messages)
    ]
    with serving(tmp_path, kernel) as (pipeline, served):
        tick_ns = BEGIN_NS + GRID_NS
        for comes_ns, _, each in sorted(late):
            while tick_ns <= comes_ns:
                pipeline.advance(tick_ns, now_ns=tick_ns)
                tick_ns += GRID_NS
            pipeline.handle(each)
        pipeline.advance(tick_ns, now_ns=tick_ns)
        assert pipeline.late_messages > 2
    assert_rebuilt(tmp_path, kernel, served)


def test_ticks_that_are_passed_over_change_no_row_that_comes_later(
    tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    with serving(tmp_path / "every", kernel) as (pipeline, every):
        take(pipeline, messages, until_ns=BEGIN_NS + 7 * SECOND_NS)
    with serving(tmp_path / "few", kernel) as (pipeline, few):
        for at, message in enumerate(messages):
            if at % 41 == 0:
                pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
            pipeline.handle(message)
        pipeline.advance(BEGIN_NS + 7 * SECOND_NS, now_ns=BEGIN_NS + 7 * SECOND_NS)
    assert pipeline.late_messages == 0
    for symbol in SYMBOLS:
        assert few.bits(symbol).items() <= every.bits(symbol).items()
        assert {each for each in every.bits(symbol) if each % SECOND_NS == 0} <= few.bits(symbol).keys()
        assert 10 < len(few.bits(symbol)) < len(every.bits(symbol))


def test_a_silence_of_days_is_closed_in_steps_that_memory_holds(
    tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    with serving(tmp_path, kernel) as (pipeline, served):
        assert list(pipeline.steps_to(BEGIN_NS)) == [BEGIN_NS]
        take(pipeline, messages, until_ns=BEGIN_NS + 7 * SECOND_NS)
        assert list(pipeline.steps_to(BEGIN_NS + HOUR_NS)) == [BEGIN_NS + HOUR_NS]
        until_ns = BEGIN_NS + 30 * HOUR_NS
        steps = list(pipeline.steps_to(until_ns))
        closed = [pipeline.advance(step_ns, now_ns=until_ns) for step_ns in steps]
    assert (len(steps), steps[-1]) == (3, until_ns)
    assert max(closed) <= ROWS_AT_ONCE
    for symbol in SYMBOLS:
        whole = [row_ns for row_ns in served.times(symbol) if row_ns % SECOND_NS == 0]
        assert whole == list(range(whole[0], until_ns + 1, SECOND_NS))


def test_of_a_silence_of_months_a_worker_computes_the_first_and_the_last_hour(
    tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    """The rows of the others are those of nobody; what comes next is served as a rebuild gives it."""
    until_ns = BEGIN_NS + 300 * DAY_NS
    with serving(tmp_path, kernel) as (pipeline, served):
        take(pipeline, messages, until_ns=BEGIN_NS + 7 * SECOND_NS)
        assert list(pipeline.steps_to(BEGIN_NS + DAY_NS, leaves_out=True)) == list(pipeline.steps_to(BEGIN_NS + DAY_NS))
        closed = [
            pipeline.advance(step_ns, now_ns=until_ns) for step_ns in pipeline.steps_to(until_ns, leaves_out=True)
        ]
        later = [TimedMessage(each.recv_ns + 300 * DAY_NS, each.body) for each in messages]
        take(pipeline, later, until_ns=until_ns + 7 * SECOND_NS)
    assert len(closed) < 5
    first_ns, last_ns = floor_to(BEGIN_NS + 2 * HOUR_NS, HOUR_NS), floor_to(until_ns, HOUR_NS)
    for symbol in SYMBOLS:
        whole = [row_ns for row_ns in served.times(symbol) if row_ns % SECOND_NS == 0]
        assert whole == [
            *range(whole[0], first_ns + 1, SECOND_NS),
            *range(last_ns, until_ns + 7 * SECOND_NS + 1, SECOND_NS),
        ]
    assert_rebuilt(tmp_path, kernel, served)
    raw = RawHistory.of(RawData(tmp_path))
    for name, lacking in (("all", 0), ("lacking", 1)):
        with FeatureLogWriter(tmp_path / name) as writer:
            for each in (whole for symbol in SYMBOLS for one in served.rows[symbol] for whole in [one.whole_seconds()]):
                is_kept = each.rows.row_ns != (BEGIN_NS + MINUTE_NS if lacking else 0)
                writer.append(each.rows.only(is_kept, reasons=False), each.available_ns[is_kept])
        parity = verify_parity(raw, FeatureLog(tmp_path / name), kernel)
        assert (parity.missing, parity.extra, parity.mismatched) == (lacking * len(SYMBOLS), 0, 0)
        assert parity.compared == pipeline.counters.rows - lacking * len(SYMBOLS)


def test_a_worker_that_ended_after_a_silence_goes_on_without_the_hours_that_it_left_out(
    tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    """Without a checkpoint the tape is replayed over the silence, whose rows would not fit in memory."""
    again_ns = BEGIN_NS + 300 * DAY_NS
    with serving(tmp_path, kernel, history=Given(given_ns=None)) as (pipeline, _):
        take(pipeline, messages, until_ns=BEGIN_NS + 7 * SECOND_NS)
        for step_ns in pipeline.steps_to(again_ns, leaves_out=True):
            pipeline.advance(step_ns, now_ns=again_ns)
        take(pipeline, [TimedMessage(each.recv_ns + 300 * DAY_NS, each.body) for each in messages], until_ns=again_ns)
    with serving(tmp_path, kernel, history=Given(given_ns=again_ns)) as (pipeline, after):
        pipeline.go_on(SYMBOLS[0], now_ns=again_ns + 8 * SECOND_NS)
        assert pipeline.lanes[SYMBOLS[0]].closed.until_ns is not None
    assert not after.rows[SYMBOLS[0]] or len(after.times(SYMBOLS[0])) < 20


@pytest.mark.parametrize("grid_ms", [50, 100, 250, 1_000])
def test_after_a_restart_no_message_comes_before_a_row_that_readers_were_given(
    tmp_path: Path, kernel: Kernel, messages: list[TimedMessage], grid_ms: int
) -> None:
    """The broker kept messages of before the last tick; what was served at it must not change."""
    given_ns, known, kept = cut_before_a_tick(messages)
    with serving(tmp_path, kernel, history=Given(given_ns=None)) as (pipeline, before):
        take(pipeline, known, until_ns=given_ns)
        assert max(before.times(SYMBOLS[0])) == given_ns
    with serving(tmp_path, kernel, history=Given(given_ns=given_ns), grid_ns=grid_ms * MILLISECOND_NS) as (
        pipeline,
        after,
    ):
        take(pipeline, kept, until_ns=BEGIN_NS + 7 * SECOND_NS)
        assert pipeline.late_messages > 0
    for symbol in SYMBOLS:
        assert min(after.times(symbol)) > given_ns
        stamps = [frame.recv_ns for frame in read_tape(tmp_path, symbol)]
        assert sum(stamp < given_ns for stamp in stamps) == sum(symbol.encode() in each.body for each in known)
    both = Served()
    both.rows = {symbol: before.rows[symbol] + after.rows[symbol] for symbol in SYMBOLS}
    assert_rebuilt(tmp_path, kernel, both)
