"""Redelivery: a message that the tape holds is recognised, counted and goes no further, across restarts too."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.pipeline.pipeline import Pipeline
from market.clock import SECOND_NS, format_iso
from market.markets import DEFAULT_MARKET
from storage.tape import Hole, read_tape, read_tape_and_holes
from storage.tape.frames import segment_head
from tests.pipelines import pipeline_in
from transforms.kernel import Kernel, compile_kernel

BEGIN_NS = 1_772_000_000 * SECOND_NS


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
