"""A service left alone: its tape is compacted, verified and retired by itself, by whichever process lives."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.report import verify_tape
from market.clock import DAY_NS, SECOND_NS, SystemClock, utc_date
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.upkeep import upkeep_store
from runtime.wiring import compiled_kernel, instrument_pins, make_pipeline
from storage.database.upkeep import UpkeepState
from storage.raw.manifest import RawPart
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter
from storage.tape.segments import segments, tape_folder
from tests.hurried import SEGMENT_S, SYMBOL, VERSION, Process, changes, command, eventually, servers, settings, started
from upkeep.tasks import COMPACTION, FRESHNESS, PERIODS

__all__ = ["changes", "servers", "settings"]  # fixtures

SEGMENTS = 150


def parts_of(settings: Settings) -> list[RawPart]:
    return RawData(settings.raw_folder).parts(SYMBOL)


def parts_made(processes: Sequence[Process]) -> int:
    """How many parts the processes say they made."""
    said = "".join(process.log.read_text() for process in processes)
    return sum(int(count) for count in re.findall(rf"{SYMBOL}: (\d+) parts of \d+ messages made and checked", said))


def test_a_service_left_alone_compacts_verifies_and_retires_and_parity_holds(
    settings: Settings, servers: Servers
) -> None:
    now_ns = SystemClock().now_ns()
    old_days = [utc_date(now_ns - days * DAY_NS) for days in (6, 5)]
    for days in (6, 5):
        pipeline = make_pipeline(settings, compiled_kernel(settings, VERSION), availability=available_as_if_live)
        start_ns = now_ns - days * DAY_NS
        play(pipeline, simulate(DEFAULT_SYMBOLS[:1], seed=days, start_ns=start_ns, duration_ns=5 * SECOND_NS))
        pipeline.close()

    older = len(list((settings.raw_folder / "tape" / SYMBOL).glob(f"{old_days[0]}/*")))

    def states() -> dict[str, UpkeepState]:
        with upkeep_store(servers) as store:
            return {state.task: state for state in store.states()}

    def live_parts() -> list[RawPart]:
        return [part for part in parts_of(settings) if part.last_ns >= now_ns]

    def old_dates() -> set[str]:
        found = {utc_date(part.last_ns) for part in parts_of(settings)}
        return found & set(old_days)

    with started(settings, "ingest", "jobs", "jobs") as processes:
        eventually(lambda: len(live_parts()) >= 3, processes)
        # The older day goes. The other one holds the last order book before what is kept.
        eventually(lambda: old_dates() == {old_days[1]}, processes)
        eventually(lambda: all(state.succeeded_at is not None for state in states().values()), processes)
        # A look that comes before the first row finds no view.
        eventually(lambda: (states()[FRESHNESS].result or {}).get("views", 0) > 0, processes)
        # The jobs first: what ingest finishes at its end is left for the command below.
        for process in reversed(processes):
            process.stop()
    assert set(states()) == set(PERIODS)
    assert [state for state in states().values() if state.failures] == []
    assert not list(settings.feature_log_storage_path.glob(f"*/*/symbol={SYMBOL}/date={old_days[0]}"))
    assert not list((settings.raw_folder / "tape" / SYMBOL).glob(f"{old_days[0]}/*"))
    # Both processes were there, and no part was made twice; a run that the end cut off tells of none.
    # The older day's have gone since; the other day has those of what stands on the tape of the time away.
    assert 0 < parts_made(processes[1:]) <= len(parts_of(settings)) + older

    code, (done,) = command(settings, "upkeep", "run", COMPACTION)
    assert (code, done["task"]) == (0, COMPACTION)
    assert done["parts_verified"] == done["parts_made"] > 0
    code, (checked,) = command(settings, "verify", "tape")
    assert (code, checked["damages"]) == (0, 0)
    code, parity = command(settings, "verify", "parity", "--registry", VERSION)
    assert parity["compared"] >= 3 * SEGMENT_S
    assert (code, parity["mismatched"], parity["missing"], parity["extra"]) == (0, 0, 0, 0)
    code, told = command(settings, "status")
    assert (code, {each["task"]: each["is_late"] for each in told["upkeep"]}[COMPACTION]) == (0, False)
    # Of a view that needs no history: the others warm up for minutes, and are not judged meanwhile.
    assert told["freshness"]["temporal"]["tiers"]["1"]["1h"]["fresh"] > 0
    code, alerts = command(settings, "alerts", "list", "--all")
    # On a busy machine a task that is to run each second is late, and rows are slow; the worker that catches up after
    # days has old rows when the first look comes. Each is said.
    assert {alert["rule"] for alert in alerts} <= {"upkeep_late", "row_old", "rows_slow"}
    assert code == any(alert["closed_at"] is None and alert["severity"] == "critical" for alert in alerts)


@pytest.mark.soak
def test_a_process_killed_in_the_middle_of_a_compaction_leaves_the_rest_to_the_next(
    settings: Settings, servers: Servers
) -> None:
    raw = settings.raw_folder
    pins = instrument_pins(settings)
    pins.pin(SYMBOL, "65000.5")
    start_ns = SystemClock().now_ns() - DAY_NS // 2
    with TapeWriter(raw, SYMBOL, segment_ns=SECOND_NS) as writer:
        for message in simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=start_ns, duration_ns=SEGMENTS * SECOND_NS):
            writer.append(message.recv_ns, message.body)
    finished = len(segments(tape_folder(raw, SYMBOL)))
    assert finished >= SEGMENTS
    with started(settings, "jobs") as (first,):
        eventually(lambda: len(parts_of(settings)) > 0, [first], pause_s=0.002)
        first.kill()
    made = {part.name for part in parts_of(settings)}
    assert 0 < len(made) < finished, "it must be killed in the middle"
    with started(settings, "jobs") as (second,):
        eventually(lambda: len(parts_of(settings)) == finished, [second])
        with upkeep_store(servers) as store:
            done = {COMPACTION}
            eventually(lambda: done <= {each.task for each in store.states() if each.succeeded_at}, [second])
        second.stop()
    assert {part.name for part in parts_of(settings)} >= made
    check = verify_tape(raw, SYMBOL, pins)
    assert (check.is_whole, check.parts) == (True, finished)
    assert parts_made([second]) == finished - len(made)
