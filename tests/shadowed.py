"""A pipeline with a shadow behind it: a simulated market is served, and its rows are compared with the tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import ServedRows, available_as_if_live
from ingestion.sinks.sinks import online_row
from ingestion.tape.whole import whole_raw
from ingestion.venues.decoders import Decoders, tape_venue
from market.clock import MILLISECOND_NS, SECOND_NS
from storage.instruments import InstrumentPins
from storage.online.vector import OnlineRow, OnlineVector, unpack, vector_of
from storage.raw.raw_data import RawData
from transforms.kernel import Kernel
from upkeep.shadow import ShadowLook, ShadowSource, SymbolShadow

GRID_NS = 100 * MILLISECOND_NS
SEGMENT_NS = 6 * SECOND_NS
"""Looks go over the ends of segments."""


class ShadowedMarket:
    """One symbol. harm: what becomes of a row on its way to its readers."""

    def __init__(
        self,
        folder: Path,
        symbol: str,
        kernel: Kernel,
        messages: Iterator[TimedMessage],
        *,
        served_by: Kernel | None = None,
        on_row: Callable[[OnlineRow], object] | None = None,
        segment_ns: int = SEGMENT_NS,
    ) -> None:
        """served_by: the kernel of the pipeline, where it is another one than the shadow's.

        on_row: takes each served row in place of ``shadow``.
        """
        self.pins = InstrumentPins(folder)
        self.harm: Callable[[OnlineVector], OnlineVector] = lambda vector: vector
        self.vectors: list[OnlineVector] = []
        self.now_s = 0.0
        self._on_row = on_row
        self._symbol = symbol
        self._messages = messages
        self._next = next(messages)
        self._begin_ns = self._next.recv_ns
        self.tick_ns = self._begin_ns // GRID_NS * GRID_NS
        self.pipeline = Pipeline(
            served_by or kernel,
            self.pins,
            raw_folder=folder,
            dead_letter=DeadLetter(folder / "dead_letter.jsonl"),
            sinks=[self],
            availability=available_as_if_live,
            grid_ns=GRID_NS,
            tape_sync_ms=1,
            tape_segment_ns=segment_ns,
        )
        self.source = ShadowSource(
            folder,
            partial(whole_raw, RawData(folder), instruments=self.pins),
            lambda of: Decoders(tape_venue(folder, of), self.pins),
            kernel,
            GRID_NS,
        )
        self.shadow = SymbolShadow(self.source, symbol)

    def write(self, served: Sequence[ServedRows]) -> None:
        """The pipeline's sink: of each the last row is stored and published."""
        for each in served:
            if each.rows.symbol == self._symbol and len(each.rows) > 0:
                row = online_row(each)
                vector = self.harm(vector_of(row))
                self.vectors.append(vector)
                if self._on_row is None:
                    self.shadow.take_published(vector, self.now_s)
                else:
                    self._on_row(row)

    def close(self) -> None:
        """Nothing is held."""

    def run(self, seconds: float) -> None:
        """So much of the market passes."""
        end_ns = self.tick_ns + round(seconds * SECOND_NS)
        while self.tick_ns < end_ns:
            self.tick_ns += GRID_NS
            while self._next.recv_ns < self.tick_ns:
                self.pipeline.handle(self._next)
                self._next = next(self._messages)
            self.now_s = (self.tick_ns - self._begin_ns) / SECOND_NS
            self.pipeline.advance(self.tick_ns, now_ns=self.tick_ns)

    def look(self) -> ShadowLook:
        """One look, with everything on the tape that was taken."""
        self.sync()
        return self.shadow.look(self.now_s)

    def sync(self) -> None:
        """Wait until what was taken is on the tape."""
        assert self.pipeline.lanes[self._symbol].durability()(10)


def flipped(vector: OnlineVector, column: str) -> OnlineVector:
    """The row with the lowest bit of one value flipped."""
    values = vector.values.copy()
    at = vector.columns.index(column)
    values[at : at + 1].view(np.int64)[:] ^= 1
    return replace(vector, values=values)


def flipped_bytes(packed: bytes, symbol: str, column: str) -> bytes:
    """A vector as it is stored, with the lowest bit of one value flipped."""
    vector = unpack(packed, symbol=symbol)
    at = packed.index(vector.values.tobytes()) + 8 * vector.columns.index(column)
    return packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
