"""Tapes of a few trades an hour, compacted, and what raw Parquet then holds."""

from __future__ import annotations

import json
from pathlib import Path

from ingestion.tape.compaction import compact_tape
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, SECOND_NS
from market.events import KIND_COUNT, TRADE, Events
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS
EVER = {"from_ns": 0, "to_ns": 2**62}


def trade(number: int, at_ns: int) -> bytes:
    element = {
        "T": at_ns // MILLISECOND_NS,
        "s": SYMBOL,
        "S": "Buy",
        "v": "0.5",
        "p": f"{60_000 + number}",
        "i": str(number),
    }
    message = {"topic": f"publicTrade.{SYMBOL}", "type": "snapshot", "ts": at_ns // MILLISECOND_NS, "data": [element]}
    return json.dumps(message).encode()


def write_tape(root: Path, hours: list[int], *, a_segment: int = 5) -> None:
    """Trades, ``a_segment`` in each of the hours after midnight."""
    InstrumentPins(root).pin(SYMBOL, "60000.5")
    with TapeWriter(root, SYMBOL) as writer:
        for hour in hours:
            for index in range(a_segment):
                at_ns = MIDNIGHT_NS + hour * HOUR_NS + index * SECOND_NS
                writer.append(at_ns, trade(writer.next_seq, at_ns))


def compact(root: Path) -> tuple[int, int]:
    done = compact_tape(root, SYMBOL, InstrumentPins(root))
    return done.made, done.kept


def events(root: Path) -> Events:
    return read_events(RawData(root), SYMBOL, kinds=range(KIND_COUNT), **EVER)


def seqs(root: Path) -> list[int]:
    found = events(root)
    return [int(seq) for seq in found["seq"][found["kind"] == TRADE]]


def contents(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.suffix in {".parquet", ".json"}]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def tape_segments(root: Path) -> list[Path]:
    return sorted((root / "tape" / SYMBOL).glob("*/*.log"))
