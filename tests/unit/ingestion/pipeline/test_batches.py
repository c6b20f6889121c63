"""Batches: what many messages taken at once leave is what they leave one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import MILLISECOND_NS, SECOND_NS, format_iso, parse_iso_ns
from storage.tape.segments import tape_folder
from tests.pipelines import pipeline_in
from transforms.kernel import Kernel, compile_kernel

ROOT = Path(__file__).parents[4]
START_NS = parse_iso_ns("2026-03-01T00:00:00")
SYMBOLS = tuple(symbol.symbol for symbol in DEFAULT_SYMBOLS[:2])
BAD = (b"", b"no JSON", b'{"topic":"publicTrade.BTCUSDT","ts":1', b'{"topic":"liquidation.BTCUSDT","data":{}}')


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@cache
def market() -> tuple[TimedMessage, ...]:
    """Some seconds of two symbols, of which some messages come through the gateway."""
    played = simulate(DEFAULT_SYMBOLS[:2], seed=5, start_ns=START_NS, duration_ns=6 * SECOND_NS, mean_activity=2)
    return tuple(
        replace(message, body=enveloped(message, number)) if number % 3 == 0 else message
        for number, message in enumerate(played)
    )


def enveloped(message: TimedMessage, number: int) -> bytes:
    """What the gateway makes of a message with one element; any other as it is."""
    read = json.loads(message.body)
    if isinstance(read["data"], list) and len(read["data"]) != 1:
        return message.body
    element = read["data"][0] if isinstance(read["data"], list) else read["data"]
    of_book = {"type": read["type"]} if read["topic"].startswith("orderbook") else {}
    at = format_iso(message.recv_ns // 1000 * 1000).removesuffix("Z")
    return json.dumps(
        {
            "event_id": f"event-{number}",
            "event_type": "any",
            "topic": read["topic"],
            "timestamp": at,
            "received_at": at,
            "payload": {**element, **of_book},
            "trace_id": f"trace-{number}" if number % 2 else None,
        }
    ).encode()


@dataclass(frozen=True)
class Defect:
    """What befalls the message at ``at``; ``amount`` says how much."""

    kind: str
    at: int
    amount: int


def befallen(defects: Sequence[Defect]) -> list[TimedMessage]:
    messages = list(market())
    for defect in defects:
        at = defect.at % len(messages)
        message = messages[at]
        if defect.kind == "lost":
            del messages[at : at + 1 + defect.amount % 3]
        elif defect.kind == "again":
            messages[at + 1 : at + 1] = messages[max(0, at - defect.amount) : at + 1]
        elif defect.kind == "late":
            messages[at] = replace(message, recv_ns=message.recv_ns - defect.amount * 50 * MILLISECOND_NS)
        elif defect.kind == "cut":
            messages[at] = replace(message, body=message.body[: -1 - defect.amount])
        elif defect.kind == "bad":
            messages.insert(at, replace(message, body=BAD[defect.amount % len(BAD)]))
        elif defect.kind == "spaced":  # not as compiled code reads it
            messages[at] = replace(message, body=message.body.replace(b":", b":\n"))
        elif defect.kind == "absurd":
            body = {"topic": f"tickers.{SYMBOLS[0]}", "type": "delta", "ts": 1_772_000_000_000}
            data = {"symbol": SYMBOLS[0], "markPrice": "1"}
            messages.insert(at, replace(message, body=json.dumps({**body, "data": data}).encode()))
    return messages


KINDS = ("lost", "again", "late", "cut", "bad", "spaced", "absurd")
DEFECTS = st.lists(st.builds(Defect, st.sampled_from(KINDS), st.integers(0, 10_000), st.integers(0, 12)), max_size=8)


class Rows:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    def write(self, served: Sequence[ServedRows]) -> None:
        for each in served:
            rows = each.rows
            assert rows.reasons is not None
            self.written.append((rows.symbol, rows.row_ns.tobytes(), rows.values.tobytes(), rows.reasons.tobytes()))
            self.written.append((each.trace_id, each.newest_recv_ns))

    def close(self) -> None: ...


def pieces(messages: Sequence[TimedMessage], sizes: Sequence[int]) -> Iterator[list[TimedMessage]]:
    """The messages cut by the sizes, again and again, and where a row closes."""
    at = turn = 0
    while at < len(messages):
        end = min(len(messages), at + sizes[turn % len(sizes)])
        whole = [place for place in range(at, end) if second(messages[place]) > second(messages[max(0, place - 1)])]
        end = min([place for place in whole if place > at], default=end)
        yield list(messages[at:end])
        at, turn = end, turn + 1


def second(message: TimedMessage) -> int:
    return message.recv_ns // SECOND_NS


def left(raw: Path, kernel: Kernel, batches: Sequence[Sequence[TimedMessage]], *, at_once: bool) -> dict[str, Any]:
    """Everything that the messages leave, taken batch by batch or one by one."""
    rows = Rows()
    pipeline: Pipeline = pipeline_in(raw, kernel, rows, tape_sync_ms=1, grid_ns=SECOND_NS // 10)
    told: list[TimedMessage] = []
    closed = 0
    try:
        for batch in batches:
            now_ns = max(message.recv_ns for message in batch)
            if batch[0].recv_ns == now_ns or second(batch[0]) > closed:
                pipeline.advance(batch[0].recv_ns, now_ns=now_ns)
                closed = second(batch[0])
            callbacks = [lambda message=message: told.append(message) for message in batch]
            if at_once:
                pipeline.handle_many(batch, on_durable=callbacks)
            else:
                for message, callback in zip(batch, callbacks, strict=True):
                    pipeline.handle(message, on_durable=callback)
        pipeline.advance(batches[-1][-1].recv_ns + SECOND_NS, now_ns=batches[-1][-1].recv_ns + SECOND_NS)
        lanes = pipeline.lanes
        state = {
            symbol: (lane.checkpoint(), lane.messages, lane.lost, lane.ignored, lane.arrivals.late, lane.needs_snapshot)
            for symbol, lane in lanes.items()
        }
        counters = replace(pipeline.counters, in_runs=0)
        counted = counters, pipeline.rejected_by_error, pipeline.redelivered, pipeline.gaps
        decoded = pipeline.decoders.compiled, pipeline.decoders.typed
    finally:
        pipeline.close()
    tapes = {
        symbol: [(path.name, path.read_bytes()) for path in sorted(tape_folder(raw, symbol).rglob("*.log"))]
        for symbol in lanes
    }
    return {
        "rows": rows.written,
        "state": state,
        "counters": counted,
        "decoded": decoded,
        "tapes": tapes,
        "told": len(told),
        "dead": (raw / "dead_letter.jsonl").read_bytes() if (raw / "dead_letter.jsonl").exists() else b"",
    }


@settings(max_examples=10)
@given(DEFECTS, st.lists(st.sampled_from((1, 2, 3, 7, 40, 300)), min_size=1, max_size=4))
def test_a_batch_leaves_what_its_messages_leave_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, kernel: Kernel, defects: list[Defect], sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("batches")
    batches = list(pieces(befallen(defects), sizes))
    one_by_one = left(folder / "single", kernel, batches, at_once=False)
    at_once = left(folder / "batches", kernel, batches, at_once=True)
    for part, expected in one_by_one.items():
        assert at_once[part] == expected, part
    assert at_once["told"] == sum(map(len, batches))


def test_a_market_without_defects_is_taken_in_runs(tmp_path: Path, kernel: Kernel) -> None:
    pipeline = pipeline_in(tmp_path, kernel)
    messages = list(market())
    try:
        for message in messages[:60]:  # every topic, from which batches know it
            pipeline.handle(message)
        pipeline.handle_many(messages[60:])
    finally:
        pipeline.close()
    assert pipeline.counters.messages == len(messages)
    assert pipeline.counters.in_runs == len(messages) - 60


def test_once_a_worker_has_started_no_message_waits_for_code_to_be_compiled_or_loaded(
    tmp_path: Path,
    kernel: Kernel,  # for the program to load
    kernel_cache: Path,
) -> None:
    program = [sys.executable, "-m", "tests.taken_after_start", str(tmp_path), str(kernel_cache)]
    found = json.loads(subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    for taken in found.pop("taken"):
        assert min(taken.values()) > 0, taken
    assert found == {"absent": [], "added": [], "compiled": []}
