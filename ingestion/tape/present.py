"""A symbol's market as its tape has it now: the order book after the newest message, and the newest trades.

The engine goes on from the last checkpoint, as after a restart, through the few messages that came since: what is read
is at most the time between two checkpoints, however long the tape is. A young tape without one is read from its begin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ingestion.decoding.scales import Instruments
from ingestion.tape.minutes import tape_records
from ingestion.venues.decoders import Decoders, tape_venue
from market.clock import MINUTE_NS
from market.errors import NotFound
from market.events import KIND_COUNT, TRADE, Events, empty_events
from market.instruments import Instrument
from storage.checkpoints import read_checkpoint
from storage.tape import FIRST_SEQ, Frame, read_tape_from
from transforms.book_levels import Levels, book_levels
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.tape_order import joined

BEFORE: Final = 2_000
"""Messages before a checkpoint that trades are looked for in."""
YOUNG_NS: Final = 10 * MINUTE_NS


@dataclass(frozen=True, slots=True)
class Present:
    """recv_ns: of the newest message. book: bids and asks; None while it is not known. trades: the newest last."""

    instrument: Instrument
    recv_ns: int
    book: tuple[Levels, Levels] | None
    trades: Events


def present_market(  # noqa: PLR0913  # where a market is read, by what, and when
    raw_folder: Path,
    symbol: str,
    instruments: Instruments,
    kernel: Kernel,
    *,
    grid_ns: int,
    now_ns: int,
    most_trades: int,
) -> Present:
    """The market of a symbol that is followed with this kernel on this grid. Raises as ``present_engine`` does."""
    trades = [empty_events()]
    engine, recv_ns = present_engine(
        raw_folder, symbol, instruments, kernel, grid_ns=grid_ns, now_ns=now_ns, on_trades=trades.append
    )
    # Everything that was received before a tick after the newest message is applied.
    engine.rows_at(np.empty(0, np.int64), recv_ns - recv_ns % grid_ns + grid_ns)
    newest = joined(trades)[-most_trades:] if most_trades else empty_events()
    return Present(engine.instrument, recv_ns, book_levels(engine), newest)


def present_engine(  # noqa: PLR0913  # where a market is read, by what, and when
    raw_folder: Path,
    symbol: str,
    instruments: Instruments,
    kernel: Kernel,
    *,
    grid_ns: int,
    now_ns: int,
    on_trades: Callable[[Events], None] | None = None,
) -> tuple[Engine, int]:
    """An engine that was fed the symbol's tape up to its newest message, and when that was received, ns.

    now_ns: a tape is young for YOUNG_NS. on_trades: takes the trades of each message, from some before the checkpoint
    on. Raises NotFound where the symbol has no tape, or one that is not young and no checkpoint of this kernel;
    CorruptStore.
    """
    instrument = instruments.get(symbol)
    if instrument is None:
        raise NotFound(f"symbol: must be one that has sent data, was {symbol!r}; GET /features/overview lists them")
    engine = Engine(kernel, instrument, grid_ns=grid_ns)
    checkpoint = read_checkpoint(raw_folder, symbol, engine.identity)
    if checkpoint is not None:
        engine.restore(checkpoint.state)
    fed_seq = FIRST_SEQ - 1 if checkpoint is None else checkpoint.seq
    decoders = Decoders(tape_venue(raw_folder, symbol), instruments)
    recv_ns = 0
    for found in read_tape_from(raw_folder, symbol, max(FIRST_SEQ, fed_seq - BEFORE)):
        if checkpoint is None and recv_ns == 0 and found.recv_ns < now_ns - YOUNG_NS:
            raise NotFound(
                f"checkpoint of {symbol}: must be there to know its market, was none of registry "
                f"{kernel.feature_set.version}; ingest keeps one within a minute of its start"
            )
        records = tape_records(decoders, symbol, found)
        if isinstance(found, Frame):
            recv_ns = found.recv_ns
            if found.seq > fed_seq:
                engine.feed(records[records["kind"] < KIND_COUNT])
            if on_trades is not None and (is_trade := records["kind"] == TRADE).any():
                on_trades(records[is_trade])
        elif found.first_seq > fed_seq:
            engine.feed(records)
    return engine, recv_ns
