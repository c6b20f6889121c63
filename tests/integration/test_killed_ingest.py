"""A real ingest process under load, killed at random points: what was acknowledged is on the tape once, rows recover.

Run as a program it is that process: it takes the messages that were not acknowledged, and prints each acknowledgement.
One that is to be killed waits for it, a few messages after the acknowledgement at which it is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ingestion.messages import TimedMessage
from ingestion.pipeline.pipeline import Pipeline
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from ingestion.tape.report import verify_tape
from market.clock import SECOND_NS, format_iso, parse_iso_ns
from market.events import CONTROL, GAP, TRADE
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.raw_data import RawData
from storage.tape import read_tape
from storage.tape.recovery import recover_abandoned
from tests.pipelines import pipeline_in
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.catalogue import feature_set
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows

SYMBOL = "BTCUSDT"
# Over the end of an hour, where the tape begins another segment.
BEGIN_NS = parse_iso_ns("2026-01-05T12:59:40")
DURATION_NS = 40 * SECOND_NS
BOOK = ["mid_price", "spread_abs"]
CHOSEN = feature_set("0.0.1", [*BOOK, "vwap_3s", "volume_3s"])
SETTLED_NS = 5 * SECOND_NS
"""Longer than the horizon of every chosen feature."""
AHEAD = 20
"""Messages that a process has taken when it is killed and that were perhaps not acknowledged."""
ROOT = Path(__file__).parents[2]


def gateway_messages() -> list[TimedMessage]:
    """A simulated market as the gateway passes it on: an envelope an element."""
    messages: list[TimedMessage] = []
    for message in simulate(DEFAULT_SYMBOLS[:1], seed=11, start_ns=BEGIN_NS, duration_ns=DURATION_NS):
        body = json.loads(message.body)
        elements = body["data"] if isinstance(body["data"], list) else [body["data"]]
        for element in elements:
            payload = {**element, "topic": body["topic"]}
            if body["topic"].startswith("orderbook"):
                payload["type"] = body["type"]
            envelope = {
                "event_id": f"event-{len(messages)}",
                "event_type": "any",
                "topic": body["topic"],
                "timestamp": format_iso(body["ts"] * 1_000_000).removesuffix("Z"),
                "received_at": format_iso(message.recv_ns).removesuffix("Z"),
                "payload": payload,
                "trace_id": None,
            }
            messages.append(TimedMessage(message.recv_ns, json.dumps(envelope).encode()))
    return messages


def ingest(raw: Path, kernel_cache: Path, acknowledged: set[int], *, most: int | None) -> None:
    """What the process does: every message not acknowledged yet, as fast as it can.

    most: of a process that is to be killed, after so many messages; None lets it finish.
    """
    pipeline = pipeline_on(raw, compile_kernel(CHOSEN, kernel_cache))
    os.write(1, b"begun\n")
    try:
        left = [each for each in enumerate(gateway_messages()) if each[0] not in acknowledged]
        for index, message in left[:most]:
            pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
            pipeline.handle(message, on_durable=partial(os.write, 1, b"%d\n" % index))
        if most is not None:
            signal.pause()
    finally:
        pipeline.close()
    os.write(1, b"redelivered %d\n" % pipeline.redelivered)


def pipeline_on(raw: Path, kernel: Kernel) -> Pipeline:
    return pipeline_in(raw, kernel, tape_sync_ms=2)


def run_once(raw: Path, kernel_cache: Path, acknowledged: set[int], *, kill_after: int | None) -> list[str]:
    """Lines of one process that is killed once so many were read; None lets it finish."""
    program = f"import runpy; runpy.run_path({str(Path(__file__))!r}, run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(raw), str(kernel_cache), json.dumps(kill_after and kill_after + AHEAD)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(sorted(acknowledged)).encode())
    process.stdin.close()
    whole = []
    for count, line in enumerate(process.stdout, start=1):
        if line.endswith(b"\n"):
            whole.append(line.decode().strip())
        if count == kill_after:
            process.kill()
    process.stdout.close()
    code = process.wait(60)
    assert code == (0 if kill_after is None else -signal.SIGKILL)
    return whole


def kill_often(raw: Path, kernel_cache: Path, *, kills: int, seed: int) -> int:
    """Kill so many processes at random points, then let one finish; how many messages came again to the last."""
    rng = Random(seed)
    acknowledged: set[int] = set()
    total = len(gateway_messages())
    for to_come in range(kills, 0, -1):
        left = total - len(acknowledged)
        # Two parts of what each of the kills to come may have: there is something left for the last one.
        most = max(2, 2 * left // to_come)
        acknowledgements = rng.choice([0, rng.randrange(1, max(2, most // 8)), rng.randrange(1, most)])
        lines = run_once(raw, kernel_cache, acknowledged, kill_after=1 + min(acknowledgements, left))
        acknowledged |= {int(line) for line in lines if line.isdecimal()}
        on_tape = indices_on_tape(raw)
        assert acknowledged <= set(on_tape)
        assert len(on_tape) == len(set(on_tape))
    last = run_once(raw, kernel_cache, acknowledged, kill_after=None)
    return int(last[-1].removeprefix("redelivered "))


def indices_on_tape(raw: Path) -> list[int]:
    if not (raw / "tape" / SYMBOL).is_dir():
        return []
    bodies: list[dict[str, Any]] = [json.loads(frame.body) for frame in read_tape(raw, SYMBOL)]
    return [int(body["event_id"].removeprefix("event-")) for body in bodies if "event_id" in body]


def rebuilt(raw: Path, kernel: Kernel) -> FeatureRows:
    compact_tape(raw, SYMBOL, InstrumentPins(raw))
    return rebuild_rows(RawData(raw), SYMBOL, kernel)


def check_killed(folder: Path, kernel_cache: Path, *, kills: int, seed: int) -> None:
    kernel = compile_kernel(CHOSEN, kernel_cache)
    kernel.warm_up()
    undisturbed = pipeline_on(folder / "undisturbed", kernel)
    for message in gateway_messages():
        undisturbed.advance(message.recv_ns, now_ns=message.recv_ns)
        undisturbed.handle(message)
    undisturbed.close()
    expected = rebuilt(folder / "undisturbed", kernel)

    raw = folder / "killed"
    redelivered = kill_often(raw, kernel_cache, kills=kills, seed=seed)
    on_tape = indices_on_tape(raw)
    lost = len(gateway_messages()) - len(set(on_tape))
    doubled = len(on_tape) - len(set(on_tape))
    print(f"seed {seed}: {kills} kills, {len(on_tape)} messages, {lost} lost, {doubled} doubled, {redelivered} again")
    assert on_tape == list(range(len(gateway_messages())))
    # The last process may have found nothing left to take, and so left the tape as the killed one before it did.
    recover_abandoned(raw, SYMBOL)
    check = verify_tape(raw, SYMBOL, InstrumentPins(raw))
    assert (check.damages, check.book_gaps, check.findings) == (0, 0, [])

    found = rebuilt(raw, kernel)
    assert found.row_ns.tolist() == expected.row_ns.tolist()
    bits, expected_bits = found.values.view(np.int64), expected.values.view(np.int64)
    # A restart makes what reaches over it unknown, never wrong.
    assert ((bits == expected_bits) | np.isnan(found.values)).all()
    settled = settled_in(raw, found)
    assert settled.any()
    assert np.array_equal(bits[settled], expected_bits[settled])
    assert np.isfinite(found.values[settled]).any()


def settled_in(raw: Path, rows: FeatureRows) -> npt.NDArray[np.bool_]:
    """Which values no restart can have made unknown, by row and column."""
    events = read_events(RawData(raw), SYMBOL, kinds=[TRADE], from_ns=0, to_ns=2**62)
    marks = events[events["kind"] == CONTROL]
    settled = np.ones(rows.values.shape, np.bool_)
    for mark in marks:
        after = rows.row_ns > mark["recv_ns"]
        if mark["field"] == GAP:  # of the book, for which nobody is asked for another snapshot here
            settled[np.ix_(after, np.isin(CHOSEN.columns, BOOK))] = False
        else:
            settled[after & (rows.row_ns <= mark["recv_ns"] + SETTLED_NS)] = False
    return settled


def test_a_process_killed_under_load_loses_nothing_acknowledged_doubles_nothing_and_its_rows_recover(
    tmp_path: Path, kernel_cache: Path
) -> None:
    check_killed(tmp_path, kernel_cache, kills=4, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_a_process_killed_hundreds_of_times_loses_nothing(tmp_path: Path, kernel_cache: Path, seed: int) -> None:
    check_killed(tmp_path, kernel_cache, kills=30, seed=100 + seed)


if __name__ == "__main__":
    ingest(Path(sys.argv[1]), Path(sys.argv[2]), set(json.load(sys.stdin)), most=json.loads(sys.argv[3]))
