"""A moment of the past: the row that was served, its book, and exactly the messages that a value of it depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.present import YOUNG_NS, Present, present_market
from market.clock import MINUTE_NS, SECOND_NS, floor_to, parse_iso_ns
from market.errors import InvalidRequest, NotFound
from market.events import CONTROL, KIND_COUNT, KLINE, NO_LEVEL, ORDERBOOK, POSITION, TRADE, Events
from storage.checkpoints import checkpoint_path
from storage.instruments import InstrumentPins
from storage.raw.events import read_events, stream_events
from storage.raw.raw_data import RawData
from tests.played import Played, write_recording
from training_sets.rebuild import moment
from training_sets.rebuild.moment import messages_behind, moment_at
from training_sets.rebuild.rebuild import rebuild_rows_at
from transforms.catalogue import FEATURES
from transforms.engine import Engine
from transforms.kernel import Kernel, compile_kernel
from transforms.state import ORDER_NS

START_NS = parse_iso_ns("2026-01-05T12:00:00")
MINUTES = 4
SYMBOL = "BTCUSDT"


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    return compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)


@pytest.fixture(scope="module")
def played(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("played")
    messages = simulate(DEFAULT_SYMBOLS, seed=11, start_ns=START_NS, duration_ns=MINUTES * MINUTE_NS)
    lines = ({"recv_ns": each.recv_ns, "msg": json.loads(each.body)} for each in messages)
    return Played(folder, kernel, write_recording(folder / "recording.jsonl.gz", lines))


def test_a_moment_is_the_row_that_was_served_with_its_book(played: Played, kernel: Kernel) -> None:
    raw = RawData(played.raw)
    served = played.rows(SYMBOL)
    names = kernel.feature_set.columns
    for at in (70, 100, len(served) - 2):
        found = moment_at(raw, SYMBOL, kernel, int(served.row_ns[at]))
        assert found.rows.values.tobytes() == served.values[at : at + 1].tobytes()
        assert found.rows.status.tobytes() == served.status[at : at + 1].tobytes()
        assert found.bids is not None
        assert found.asks is not None
        assert (np.diff(found.bids[:, 0]) < 0).all()
        assert (np.diff(found.asks[:, 0]) > 0).all()
        scale = 10.0 ** -raw.instrument(SYMBOL).price_exponent
        mid = (found.bids[0, 0] + found.asks[0, 0]) / 2
        assert found.rows.values[0, names.index("mid_price")] in {mid / scale, mid * scale}
    with pytest.raises(InvalidRequest, match="must be a multiple of"):
        moment_at(raw, SYMBOL, kernel, START_NS + 1)
    with pytest.raises(InvalidRequest, match="must be a multiple of"):
        moment_at(raw, SYMBOL, kernel, START_NS - SECOND_NS)
    with pytest.raises(InvalidRequest, match="feature: must be one of registry"):
        messages_behind(raw, SYMBOL, kernel.feature_set, "no", START_NS + MINUTE_NS)


def test_a_moment_needs_no_more_of_a_kind_than_the_row_sees_of_it(
    kernel_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two connections, each with a snapshot: of the book the first is left out, of candles both are needed."""
    connected_ns = (START_NS, START_NS + 7 * MINUTE_NS)
    messages = (
        each
        for seed, start_ns in enumerate(connected_ns)
        for each in simulate(DEFAULT_SYMBOLS[:1], seed=seed, start_ns=start_ns, duration_ns=7 * MINUTE_NS)
    )
    lines = ({"recv_ns": each.recv_ns, "msg": json.loads(each.body)} for each in messages)
    whole = compile_kernel(load_registry_version("2.0.0").feature_set, kernel_cache)
    raw = RawData(Played(tmp_path, whole, write_recording(tmp_path / "recording.jsonl.gz", lines)).raw)
    rng = np.random.default_rng(3)
    ticks = np.unique(rng.integers(12 * MINUTE_NS // ORDER_NS, 14 * MINUTE_NS // ORDER_NS, 12)) * ORDER_NS
    row_ns = START_NS + np.append(ticks, floor_to(int(ticks[-1]), SECOND_NS))
    row_ns.sort()
    expected = rebuild_rows_at(raw, SYMBOL, whole, row_ns)
    read: list[tuple[set[int], int]] = []

    def streamed(*args: Any, kinds: set[int], from_ns: int, **others: Any) -> Any:  # noqa: ANN401  # as it is
        read.append((set(kinds), from_ns))
        return stream_events(*args, kinds=kinds, from_ns=from_ns, **others)

    monkeypatch.setattr(moment, "stream_events", streamed)
    for at, tick_ns in enumerate(row_ns.tolist()):
        found = moment_at(raw, SYMBOL, whole, tick_ns)
        assert found.rows.values.tobytes() == expected.values[at : at + 1].tobytes()
        assert found.rows.status.tobytes() == expected.status[at : at + 1].tobytes()
    assert min(from_ns for kinds, from_ns in read if ORDERBOOK in kinds) >= connected_ns[1]
    assert min(from_ns for kinds, from_ns in read if KLINE in kinds) < connected_ns[1]
    of_position = [name for name in whole.feature_set.columns if FEATURES[name].kinds == {POSITION, ORDERBOOK}]
    behind = messages_behind(raw, SYMBOL, whole.feature_set, of_position[0], int(row_ns[-1]))
    assert {each.kind for each in behind if each.recv_ns < connected_ns[1]} <= {"control start", "control gap"}
    assert behind[-1].recv_ns >= row_ns[-1] - SECOND_NS


def test_the_market_of_now_is_the_book_of_the_next_row_and_the_last_trades(played: Played, kernel: Kernel) -> None:
    raw, pins = RawData(played.raw), InstrumentPins(played.raw)
    last_ns = raw.period(SYMBOL)[1]
    next_row = moment_at(raw, SYMBOL, kernel, floor_to(last_ns, ORDER_NS) + ORDER_NS)
    traded = read_events(raw, SYMBOL, kinds=[TRADE], from_ns=START_NS, to_ns=last_ns + 1)
    traded = traded[traded["kind"] == TRADE][-20:]

    def present(now_ns: int) -> Present:
        return present_market(played.raw, SYMBOL, pins, kernel, grid_ns=SECOND_NS, now_ns=now_ns, most_trades=20)

    checkpoint = checkpoint_path(played.raw, SYMBOL)
    kept = checkpoint.read_bytes()
    for is_kept in (True, False):  # from it, and a young tape without one from its begin
        if not is_kept:
            checkpoint.unlink()
        found = present(last_ns)
        assert found.recv_ns == last_ns
        assert found.book is not None
        for side, levels in zip(found.book, (next_row.bids, next_row.asks), strict=True):
            np.testing.assert_array_equal(side, levels)
        assert len(found.trades) == 20
        assert (found.trades == traded).all()  # field by field: what lies between them is anything
    with pytest.raises(NotFound, match="checkpoint of BTCUSDT: must be there"):
        present(last_ns + 2 * YOUNG_NS)
    with pytest.raises(NotFound, match="symbol: must be one that has sent data"):
        present_market(played.raw, "NOBODY", pins, kernel, grid_ns=SECOND_NS, now_ns=0, most_trades=1)
    checkpoint.write_bytes(kept)


def test_only_the_messages_that_are_listed_change_a_value(played: Played, kernel: Kernel) -> None:
    check_the_law(played, kernel, draws=60)


def test_of_trades_the_window_is_listed_and_without_the_others_the_value_is_the_same(
    played: Played, kernel: Kernel
) -> None:
    raw, chosen = RawData(played.raw), kernel.feature_set
    end_ns = START_NS + MINUTES * MINUTE_NS
    events = read_events(raw, SYMBOL, kinds=range(KIND_COUNT), from_ns=START_NS, to_ns=end_ns)
    trades_ns = events["recv_ns"][events["kind"] == TRADE]
    rows_ns = START_NS + np.arange(61, MINUTES * 60) * SECOND_NS
    silent = rows_ns[rows_ns - trades_ns[np.searchsorted(trades_ns, rows_ns) - 1] > 3 * SECOND_NS]
    assert len(silent) > 0
    for row_ns in (*rows_ns[::60].tolist(), *silent[:2].tolist()):
        values = value_of(raw, kernel, events, row_ns)
        for name, window_s in (("vwap_3s", 3), ("volume_3s", 3), ("vwap_15s", 15), ("volume_1m", 60)):
            listed = messages_behind(raw, SYMBOL, chosen, name, row_ns)
            of_trades = [each.recv_ns for each in listed if each.kind == "trade"]
            is_within = (trades_ns >= row_ns - window_s * SECOND_NS) & (trades_ns < row_ns)
            if is_within.any():
                assert set(of_trades) == set(trades_ns[is_within].tolist())
            else:  # one alone, which shows that trades arrive
                assert of_trades == [trades_ns[trades_ns < row_ns][-1]]
            is_kept = (events["kind"] != TRADE) | np.isin(events["seq"], [each.seq for each in listed])
            column = chosen.columns.index(name)
            found = value_of(raw, kernel, events[is_kept], row_ns)[column]
            assert found.tobytes() == values[column].tobytes(), (name, row_ns, values[column], found)


@pytest.mark.soak
def test_only_the_messages_that_are_listed_change_a_value_a_thousand_times(played: Played, kernel: Kernel) -> None:
    check_the_law(played, kernel, draws=1000)


def check_the_law(played: Played, kernel: Kernel, *, draws: int) -> None:
    """All others changed at once, and one of them, leave the bits; all that are listed changed give another value."""
    raw = RawData(played.raw)
    end_ns = START_NS + MINUTES * MINUTE_NS
    events = read_events(raw, SYMBOL, kinds=range(KIND_COUNT), from_ns=START_NS, to_ns=end_ns)
    chosen = kernel.feature_set
    rng = np.random.default_rng(5)
    known = moved = 0
    for _ in range(draws):
        row_ns = START_NS + int(rng.integers(MINUTE_NS // ORDER_NS, (end_ns - START_NS) // ORDER_NS)) * ORDER_NS
        column = int(rng.integers(len(chosen.columns)))
        listed = [each.seq for each in messages_behind(raw, SYMBOL, chosen, chosen.columns[column], row_ns)]
        is_listed = np.isin(events["seq"], listed)
        value = value_of(raw, kernel, events, row_ns)[column]
        others = np.unique(events["seq"][~is_listed])
        drawn = events["seq"] == rng.choice(others)
        for changed in (~is_listed, drawn):
            found = value_of(raw, kernel, with_other_numbers(events, changed, rng), row_ns)[column]
            assert found.tobytes() == value.tobytes(), (chosen.columns[column], row_ns, value, found)
        if not np.isnan(value) and len(listed) > 0:
            known += 1
            found = value_of(raw, kernel, with_other_numbers(events, is_listed, rng), row_ns)[column]
            moved += found.tobytes() != value.tobytes()
    assert known > draws / 3
    assert moved > 0.7 * known


def value_of(raw: RawData, kernel: Kernel, events: Events, row_ns: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    engine = Engine(kernel, raw.instrument(SYMBOL), start_ns=int(events["recv_ns"][0]), grid_ns=ORDER_NS)
    engine.feed(events)
    values: np.ndarray[tuple[int], np.dtype[np.float64]] = engine.rows_at(np.array([row_ns]), row_ns).values[0]
    return values


def with_other_numbers(
    events: Events, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]], rng: np.random.Generator
) -> Events:
    """Prices and quantities of the chosen records are others; what a message is of, its times and ids stay."""
    changed = events.copy()
    numbers = chosen & (events["kind"] != CONTROL) & ~((events["kind"] == ORDERBOOK) & (events["field"] == NO_LEVEL))
    changed["px"][numbers] += rng.integers(1, 50, numbers.sum())
    sized = numbers & (events["qty"] > 0)
    changed["qty"][sized] += rng.integers(1, 50, sized.sum())
    return changed
