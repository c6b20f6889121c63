"""Redelivery: a message that the tape holds is recognised, counted and goes no further, across restarts too."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.registry_versions import load_registry_version
from ingestion.decoding.decoded import DecodedMessage
from ingestion.messages import TimedMessage
from ingestion.pipeline.kept_ids import KeptIds, _hash
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.redelivery import TRADES_NS, SeenMessages
from market.clock import DAY_NS, SECOND_NS, format_iso
from market.events import TRADE, empty_events
from market.markets import DEFAULT_MARKET
from storage.tape import Hole, read_tape, read_tape_and_holes
from storage.tape.frames import segment_head
from tests.pipelines import pipeline_in
from transforms.jit import python_function
from transforms.kernel import Kernel, compile_kernel

BEGIN_NS = 1_772_000_000 * SECOND_NS


def decoded(event_id: str | None, *trade_ids: str | None) -> DecodedMessage:
    return DecodedMessage("BTCUSDT", TRADE, "publicTrade.BTCUSDT", None, None, empty_events(1), event_id, trade_ids)


def envelope(number: int, *, event_id: int | None = None) -> bytes:
    """A trade as the gateway passes it on; its number is in its size."""
    at = format_iso(BEGIN_NS + number * SECOND_NS // 10).removesuffix("Z")
    payload = {
        "T": (BEGIN_NS + number * SECOND_NS // 10) // 1_000_000,
        "s": "BTCUSDT",
        "S": "Buy",
        "v": f"0.{number + 1:03d}",
        "p": "65000.5",
        "i": f"trade-{number}",
    }
    return json.dumps(
        {
            "event_id": f"event-{number if event_id is None else event_id}",
            "event_type": "trade",
            "topic": "publicTrade.BTCUSDT",
            "timestamp": at,
            "received_at": at,
            "payload": payload,
            "trace_id": None,
        }
    ).encode()


def message(number: int, *, event_id: int | None = None) -> TimedMessage:
    return TimedMessage(BEGIN_NS + number * SECOND_NS // 10, envelope(number, event_id=event_id))


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


def pipeline_on(folder: Path, kernel: Kernel) -> Pipeline:
    return pipeline_in(folder, kernel, tape_sync_ms=1)


def numbers_on_tape(folder: Path) -> list[int]:
    bodies = [json.loads(frame.body) for frame in read_tape(folder, "BTCUSDT")]
    return [int(body["payload"]["i"].removeprefix("trade-")) for body in bodies if "payload" in body]


def test_a_message_is_known_by_its_event_id_or_by_all_of_its_trades() -> None:
    seen = SeenMessages()
    seen.remember(decoded("a", "1", "2"), 7, BEGIN_NS)
    assert seen.seq_of(decoded("a", "9")) == 7
    assert seen.seq_of(decoded("b", "1")) == 7
    assert seen.seq_of(decoded(None, "2", "1")) == 7
    assert seen.seq_of(decoded("b", "2", "3")) is None
    assert seen.seq_of(decoded("1")) is None
    assert seen.seq_of(decoded(None)) is None


def test_a_message_of_trades_from_two_is_on_the_disk_with_the_later_one() -> None:
    seen = SeenMessages()
    seen.remember(decoded("a", "1"), 7, BEGIN_NS)
    seen.remember(decoded("b", "2"), 9, BEGIN_NS)
    assert seen.seq_of(decoded("c", "2", "1")) == 9
    assert seen.seq_of(decoded("c", "1", "2")) == 9


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 8))
def test_exactly_the_last_identities_of_the_window_are_known(events: list[int], window: int) -> None:
    seen = SeenMessages(window)
    order: list[int] = []
    for seq, event in enumerate(events):
        known = seen.seq_of(decoded(str(event)))
        assert (known is not None) == (event in order[-window:])
        if known is None:
            seen.remember(decoded(str(event)), seq, BEGIN_NS)
            order.append(event)
    assert len(seen._events) == min(len(order), window)


class PlainSeen:
    """What is known of a stream, said with lists: the oracle."""

    def __init__(self, window: int, most_trades: int) -> None:
        self.window, self.most_trades = window, most_trades
        self.events: list[tuple[str, int]] = []
        self.trades: list[tuple[str, int, int]] = []
        self.newest_ns = 0

    def seq_of(self, event_id: str | None, trade_ids: tuple[str | None, ...]) -> int | None:
        events, trades = dict(self.events), {name: seq for name, seq, _ in self.trades}
        if event_id in events:
            return events[event_id]
        if not trade_ids or any(each is None or each not in trades for each in trade_ids):
            return None
        return max(trades[each] for each in trade_ids if each is not None)

    def remember(self, event_id: str | None, trade_ids: tuple[str | None, ...], seq: int, recv_ns: int) -> None:
        if event_id is not None:
            known = [name for name, _ in self.events]
            self.events = [(name, seq if name == event_id else old) for name, old in self.events]
            self.events += [] if event_id in known else [(event_id, seq)]
            self.events = self.events[-self.window :]
        for each in trade_ids:
            known = [name for name, _, _ in self.trades]
            self.trades = [(name, seq if name == each else old, at) for name, old, at in self.trades]
            self.trades += [] if each is None or each in known else [(each, seq, recv_ns)]
        self.newest_ns = max([self.newest_ns, *([recv_ns] if trade_ids else [])])
        while len(self.trades) > self.most_trades or (
            len(self.trades) > self.window and self.trades[0][2] < self.newest_ns - TRADES_NS
        ):
            self.trades.pop(0)


NAMES = st.sampled_from([f"{number:04d}-é" for number in range(14)])


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.none() | NAMES,
            st.lists(st.none() | NAMES, max_size=4),
            st.sampled_from([0, 1, TRADES_NS // 3, TRADES_NS, TRADES_NS + 1]),
            st.sampled_from(["take", "note again", "restart"]),
        ),
        max_size=60,
    ),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_what_is_kept_in_hashes_is_known_as_by_plain_lists_across_restarts_too(
    steps: list[tuple[str | None, list[str | None], int, str]], window: int, waiting: int
) -> None:
    plain = PlainSeen(window, window + 3)
    seen = SeenMessages(window, most_trades=window + 3, waiting=waiting)
    recv_ns = BEGIN_NS
    for seq, (event_id, trades, gap_ns, step) in enumerate(steps, start=1):
        recv_ns += gap_ns
        message = decoded(event_id, *trades)
        assert seen.seq_of(message) == plain.seq_of(event_id, tuple(trades))
        known = {name for name, _, _ in plain.trades}
        assert seen.repeated_trades(message) == [
            at for at, each in enumerate(trades) if each is not None and (each in known or each in trades[:at])
        ]
        if step == "restart":
            kept = seen.entries()
            seen = SeenMessages(window, most_trades=window + 3, waiting=waiting)
            seen.restore(kept)
        elif step == "note again" or plain.seq_of(event_id, tuple(trades)) is None:
            seen.remember(message, seq, recv_ns)
            plain.remember(event_id, tuple(trades), seq, recv_ns)
    assert (len(seen._events), len(seen._trades)) == (len(plain.events), len(plain.trades))


def test_the_hash_of_an_id_is_the_same_without_the_jit_and_no_two_of_many_are_equal() -> None:
    names = [f"{kind}{number}".encode() for number in range(1000) for kind in ("", "event-", "00000000-0000-4000-é")]
    plain = [python_function(_hash)(b"--" + name, 2, 2 + len(name)) for name in names]
    assert len({low for low, _ in plain}) == len(names)
    kept = KeptIds()
    for seq, name in enumerate(names):
        kept.keep(name.decode(), seq)
    rows = np.frombuffer(kept.entries(), np.int64).reshape(-1, 2)
    assert rows[:, 0].tolist() == [low for low, _ in plain]
    assert (rows[:, 1] >> 48).tolist() == [high for _, high in plain]


def test_ids_that_share_places_of_the_table_outlive_those_that_are_forgotten() -> None:
    kept, window = KeptIds(waiting=7), 500
    for number in range(6 * window):
        kept.keep(str(number), number)
        if len(kept) > window:
            kept.forget(1)
        if number % window == window - 1:
            known = [kept.seq_of(str(each)) for each in range(number + 2)]
            assert known == [None] * (number + 1 - window) + list(range(number + 1 - window, number + 1)) + [None]


def test_a_full_window_takes_25_bytes_an_id() -> None:
    seen = SeenMessages()
    for number in range(20_000):
        seen.remember(decoded(f"{number:032x}-0000"), number, BEGIN_NS)
    assert len(seen._events) == 18_000
    assert seen._events._ring.nbytes + seen._events._table.nbytes < 25 * 18_000


def test_a_trade_is_known_for_a_minute_longer_than_any_window_and_the_latest_whatever_their_time() -> None:
    seen = SeenMessages(2)
    for number in range(6):
        seen.remember(decoded(None, str(number)), number, BEGIN_NS + number * SECOND_NS)
    assert seen.repeated_trades(decoded(None, "0", "5", "6")) == [0, 1]
    seen.remember(decoded(None, "late"), 9, BEGIN_NS + TRADES_NS + 3 * SECOND_NS)
    assert seen.repeated_trades(decoded(None, "2", "3", "5", "late")) == [1, 2, 3]
    seen.remember(decoded(None, "next day"), 10, BEGIN_NS + DAY_NS)
    assert seen.repeated_trades(decoded(None, "5", "late", "next day")) == [1, 2]


def test_trades_are_known_in_bounded_memory() -> None:
    seen = SeenMessages(3, most_trades=5)
    for number in range(50):
        seen.remember(decoded(None, str(number)), number, BEGIN_NS)
    assert seen.repeated_trades(decoded(None, *map(str, range(50)))) == [45, 46, 47, 48, 49]
    assert len(seen._trades) == 5


def test_trades_without_an_id_are_never_known() -> None:
    seen = SeenMessages()
    seen.remember(decoded(None, None, "1"), 1, BEGIN_NS)
    assert seen.seq_of(decoded(None, None, "1")) is None
    assert seen.repeated_trades(decoded(None, None, "1", None, "2", "2")) == [1, 4]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 6)), min_size=1, max_size=5))
def test_whatever_is_delivered_again_after_restarts_the_tape_holds_every_message_once(
    tmp_path_factory: pytest.TempPathFactory, kernel: Kernel, runs: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("raw")
    taken = redelivered = 0
    for fresh, repeated in runs:
        pipeline = pipeline_on(folder, kernel)
        try:
            again = min(repeated, taken)
            for number in range(taken - again, taken + fresh):
                pipeline.handle(message(number))
            taken += fresh
            redelivered += again
            assert pipeline.redelivered == again
        finally:
            pipeline.close()
    assert numbers_on_tape(folder) == list(range(taken))


def test_a_trade_under_another_event_id_is_the_same_trade(tmp_path: Path, kernel: Kernel) -> None:
    pipeline = pipeline_on(tmp_path, kernel)
    try:
        for event_id in (0, 1):
            pipeline.handle(message(0, event_id=event_id))
        assert pipeline.redelivered == 1
    finally:
        pipeline.close()
    assert numbers_on_tape(tmp_path) == [0]


def test_a_message_may_be_acknowledged_when_it_is_durable_and_a_repeated_or_rejected_one_too(
    tmp_path: Path, kernel: Kernel
) -> None:
    pipeline = pipeline_on(tmp_path, kernel)
    told = [threading.Event() for _ in range(3)]
    try:
        pipeline.handle(message(0), on_durable=told[0].set)
        pipeline.handle(message(0), on_durable=told[1].set)
        pipeline.handle(TimedMessage(BEGIN_NS, b"no JSON"), on_durable=told[2].set)
        assert all(each.wait(10) for each in told)
        assert numbers_on_tape(tmp_path) == [0]
    finally:
        pipeline.close()


def test_a_damaged_tape_does_not_keep_ingest_from_going_on(tmp_path: Path, kernel: Kernel) -> None:
    pipeline = pipeline_on(tmp_path, kernel)
    for number in range(20):
        pipeline.handle(message(number))
    pipeline.close()
    (segment,) = (tmp_path / "tape" / "BTCUSDT").glob("*/*.log")
    damaged = bytearray(segment.read_bytes())
    damaged[(len(damaged) + len(segment_head(DEFAULT_MARKET))) // 2] ^= 1
    segment.write_bytes(damaged)

    pipeline = pipeline_on(tmp_path, kernel)
    try:
        for number in range(18, 25):
            pipeline.handle(message(number))
        assert pipeline.redelivered == 2
    finally:
        pipeline.close()
    found = list(read_tape_and_holes(tmp_path, "BTCUSDT"))
    assert [each.first_seq for each in found if isinstance(each, Hole)] == [11]
    # Nineteen of the first twenty can be read, a restart mark, five more and what came again follow.
    assert len(found) == 19 + 1 + 1 + 5 + 1


def test_what_came_again_is_counted_on_the_tape_and_told_by_one_that_is_played_again(
    tmp_path: Path, kernel: Kernel
) -> None:
    pipeline = pipeline_on(tmp_path / "lived", kernel)
    for number in (0, 1, 0, 1, 1):
        pipeline.handle(message(number))
    pipeline.close()
    frames = list(read_tape(tmp_path / "lived", "BTCUSDT"))
    [told] = [json.loads(frame.body) for frame in frames if b"feature-service.arrivals." in frame.body]
    assert told["kinds"] == [{"kind": "trade", "late": 0, "most_late_ns": 0, "repeated": 3}]

    again = pipeline_on(tmp_path / "played", kernel)
    for frame in frames:
        again.handle(TimedMessage(frame.recv_ns, frame.body))
    again.close()
    assert again.counters.rejected == 0
    assert [frame.body for frame in read_tape(tmp_path / "played", "BTCUSDT")] == [frame.body for frame in frames]
