"""The commands on a tape as they are typed: figures, a check, compaction and retention."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ingestion.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import MINUTE_NS, parse_iso_ns
from storage.instruments import InstrumentPins
from storage.tape import TapeWriter, read_tape

START_NS = parse_iso_ns("2026-01-05T12:00:00")


def feature_service(*arguments: object) -> tuple[int, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", "from runtime.cli import main; main()", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=Path(__file__).parents[2],
    )
    return ran.returncode, json.loads(ran.stdout)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A simulated minute of one symbol on its tape."""
    raw = tmp_path / "data" / "raw"
    InstrumentPins(raw).pin("BTCUSDT", "65000.5")
    with TapeWriter(raw, "BTCUSDT") as writer:
        for message in simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=START_NS, duration_ns=MINUTE_NS):
            writer.append(message.recv_ns, message.body)
    return tmp_path / "data"


def test_a_tape_is_counted_checked_compacted_archived_and_restored(data: Path, tmp_path: Path) -> None:
    count = sum(1 for _ in read_tape(data / "raw", "BTCUSDT"))
    code, stats = feature_service("tape", "stats", "--data", data)
    assert (code, sum(each["messages"] for each in stats)) == (0, count)
    code, done = feature_service("tape", "compact", "--data", data)
    assert (code, done[0]["parts_made"], done[0]["messages"]) == (0, 1, count)
    code, checked = feature_service("verify", "tape", "--data", data)
    assert (code, checked[0]["messages"], checked[0]["parts"], checked[0]["damages"]) == (0, count, 1, 0)
    code, archived = feature_service("tape", "archive", "--to", tmp_path / "archive", "--days", 100_000, "--data", data)
    assert (code, archived[0]["parts"]) == (0, 0)
    code, refused = feature_service("tape", "restore", "--from", tmp_path, "--symbol", "BTCUSDT", "--data", data)
    assert (code, refused["error"]) == (1, "NotFound")

    (segment,) = (data / "raw" / "tape").rglob("*.log")
    segment.write_bytes(segment.read_bytes()[:-1])
    code, checked = feature_service("verify", "tape", "--data", data)
    assert (code, checked[0]["damages"]) == (1, 2)
    assert all(str(segment) in finding for finding in checked[0]["findings"])
