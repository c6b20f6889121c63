"""Rows at chosen ticks: those of one run over everything, also where the run is left off and begun anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import HOUR_NS, MILLISECOND_NS, SECOND_NS, ceil_to, parse_iso_ns
from market.events import KIND_COUNT
from storage.features.log import FeatureLog
from storage.features.served_ticks import ServedTickWriter
from storage.instruments import InstrumentPins
from storage.raw.events import stream_events
from storage.raw.raw_data import RawData
from tests.pipelines import pipeline_in
from training_sets.rebuild.rebuild import rebuild_rows_at
from training_sets.rebuild.ticks import TickRows, newest_given
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.asked import SymbolTicks
from training_sets.samples.known import NO_ROW
from transforms.kernel import Kernel, compile_kernel

SYMBOL = "BTCUSDT"
BEGIN_NS = parse_iso_ns("2026-01-05T12:00:00")
BEGINS_NS = (BEGIN_NS, BEGIN_NS + 2 * SECOND_NS, BEGIN_NS + HOUR_NS, BEGIN_NS + 2 * HOUR_NS, BEGIN_NS + 27 * HOUR_NS)
"""Of seconds with messages, each with a snapshot; features of the set look back a day and five minutes."""
GRID_NS = 100 * MILLISECOND_NS


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    return compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, kernel: Kernel) -> Path:
    folder = tmp_path_factory.mktemp("ticks")
    pipeline = pipeline_in(folder, kernel)
    try:
        for seed, begin_ns in enumerate(BEGINS_NS):
            play(pipeline, simulate(DEFAULT_SYMBOLS[:1], seed=seed, start_ns=begin_ns, duration_ns=SECOND_NS))
    finally:
        pipeline.close()
    compact_tape(folder, SYMBOL, InstrumentPins(folder))
    return folder


def ticks_around(begin_ns: int, *steps: int) -> list[int]:
    return [begin_ns + step * GRID_NS for step in steps]


def test_where_nothing_is_asked_for_longer_than_features_look_back_a_run_begins_anew(raw: Path, kernel: Kernel) -> None:
    first, second, *_, far = BEGINS_NS
    asked = [*ticks_around(first, 4, 9, 14), *ticks_around(second, 5, 30), *ticks_around(far, 2, 3, 12)]
    whole = rebuild_rows_at(RawData(raw), SYMBOL, kernel, np.array(asked))
    for cuts in ([8], [3, 5], [1, 1, 6], [5, 5, 6]):
        rows = TickRows(RawData(raw), SYMBOL, kernel, to_ns=asked[-1])
        pieces = [rows.at(np.array(piece)) for piece in np.split(np.array(asked), cuts) if len(piece) > 0]
        assert rows.runs == 2
        assert np.concatenate([piece.row_ns for piece in pieces]).tolist() == asked
        values = np.concatenate([piece.values for piece in pieces])
        assert np.array_equal(values.view(np.int64), whole.values.view(np.int64))
        assert np.array_equal(np.concatenate([piece.status for piece in pieces]), whole.status)


def test_the_newest_tick_given_is_that_after_a_message_or_a_whole_second_however_far_apart_times_are(raw: Path) -> None:
    first, *_, far = BEGINS_NS
    until_ns = np.array([first + SECOND_NS + 777, far - HOUR_NS + 1_700 * MILLISECOND_NS, far + 10 * SECOND_NS + 1])
    given = newest_given(RawData(raw), SYMBOL, until_ns, grid_ns=GRID_NS)
    assert given.tolist() == [first + SECOND_NS, far - HOUR_NS + SECOND_NS, far + 10 * SECOND_NS]
    within_ns = first + np.arange(1, 10) * GRID_NS + 777
    kinds, to_ns = range(KIND_COUNT), first + SECOND_NS
    events = [piece for piece, _ in stream_events(RawData(raw), SYMBOL, kinds=kinds, from_ns=first, to_ns=to_ns)]
    came_ns = np.concatenate([piece["recv_ns"] for piece in events])
    expected = [ceil_to(int(came_ns[came_ns < at].max()) + 1, GRID_NS) for at in within_ns // GRID_NS * GRID_NS]
    assert newest_given(RawData(raw), SYMBOL, within_ns, grid_ns=GRID_NS).tolist() == expected
    together = np.sort(np.concatenate([until_ns, first + np.arange(50) * 37 * MILLISECOND_NS]))
    alone = [newest_given(RawData(raw), SYMBOL, each, grid_ns=GRID_NS) for each in together.reshape(-1, 1)]
    assert newest_given(RawData(raw), SYMBOL, together, grid_ns=GRID_NS).tolist() == np.concatenate(alone).tolist()


def test_a_row_on_record_answers_for_the_time_to_live_and_no_longer(raw: Path, kernel: Kernel, tmp_path: Path) -> None:
    last_ns = BEGINS_NS[-1] + 9 * GRID_NS
    served = rebuild_rows_at(RawData(raw), SYMBOL, kernel, np.array([last_ns]))
    writer = ServedTickWriter(tmp_path)
    writer.append(served, served.row_ns + MILLISECOND_NS)
    writer.close()
    end_ns = last_ns + LONGEST_LAG_NS
    ticks = SymbolTicks(kernel, SYMBOL, FeatureLog(tmp_path), RawData(raw), grid_ns=GRID_NS, to_ns=end_ns + 1)
    answers = ticks.answers(np.array([last_ns + MILLISECOND_NS, end_ns, end_ns + 1]))
    assert answers.row_ns.tolist() == [last_ns, last_ns, NO_ROW]
    assert answers.is_measured.tolist() == [True, True, False]
