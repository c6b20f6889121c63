"""Compaction: the tape's exact bytes to typed raw Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from ingestion.decode import Decoder, Instruments
from market.clock import utc_date
from market.events import Events
from storage.raw_parquet import write_events
from storage.tape import read_tape

RECORDS_A_PART: Final = 500_000
"""Bounds the memory of a compaction; a part is some minutes to hours of one symbol."""


def compact_tape(raw_folder: Path, symbol: str, instruments: Instruments) -> list[Path]:
    """Write a symbol's whole tape as raw Parquet, in parts of whole messages; the same tape gives the same files."""
    decoder = Decoder(instruments)
    written: list[Path] = []
    pending: list[Events] = []
    count = 0
    date = ""
    for frame in read_tape(raw_folder, symbol):
        decoded = decoder.decode(frame.body)
        assert decoded is not None, "only messages with market data are logged"
        if pending and (count >= RECORDS_A_PART or utc_date(frame.recv_ns) != date):
            written += _write_part(raw_folder, symbol, instruments, pending)
            pending, count = [], 0
        date = utc_date(frame.recv_ns)
        decoded.records["recv_ns"] = frame.recv_ns
        decoded.records["seq"] = frame.seq
        pending.append(decoded.records)
        count += len(decoded.records)
    if pending:
        written += _write_part(raw_folder, symbol, instruments, pending)
    return written


def _write_part(raw_folder: Path, symbol: str, instruments: Instruments, pending: list[Events]) -> list[Path]:
    instrument = instruments.get(symbol)
    assert instrument is not None, "decoding a message pins its symbol"
    events = np.concatenate(pending)
    return write_events(raw_folder, instrument, events, part=f"{int(events['seq'][0]):012d}")
