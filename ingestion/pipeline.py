"""The pipeline: every symbol's messages to the tape, the engine and the sinks.

1. A message is decoded; one that cannot be goes to the dead-letter with its reason, and nothing else is affected.
2. Its symbol's lane stamps it, appends its bytes to the tape and feeds the engine.
3. ``advance`` closes the rows that the watermark has passed, for all symbols, and hands them to every sink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from ingestion.dead_letter import DeadLetter
from ingestion.decode import Decoder, Instruments
from ingestion.lane import Lane
from ingestion.recordings import RejectedLine
from ingestion.source import TimedMessage
from market.clock import MILLISECOND_NS
from market.errors import RejectedMessage
from storage.tape import DEFAULT_SYNC_MS, TapeWriter, read_tape_and_holes
from transforms.catalogue import set_horizon_ns
from transforms.engine import Engine
from transforms.plan import Kernel
from transforms.rows import FeatureRows

GRACE_NS: Final = 10 * MILLISECOND_NS
"""How long after its boundary a row waits for messages still on their way."""

Availability = Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.int64]]
"""From row times and the present time to when each row could be read."""


@dataclass(frozen=True, slots=True)
class ServedRows:
    """Rows of one symbol with the time at which each could be read by a model, int64 ns (n,)."""

    rows: FeatureRows
    available_ns: npt.NDArray[np.int64]


class RowSink(Protocol):
    """A place that closed rows go to."""

    def write(self, served: Sequence[ServedRows]) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Counters:
    """What the pipeline has met since it began."""

    messages: int = 0
    answers: int = 0
    rejected: int = 0
    rows: int = 0


def available_now(row_ns: npt.NDArray[np.int64], now_ns: int) -> npt.NDArray[np.int64]:
    """A live row can be read from now on."""
    return np.full(len(row_ns), now_ns, np.int64)


def available_as_if_live(row_ns: npt.NDArray[np.int64], now_ns: int) -> npt.NDArray[np.int64]:
    """A replayed row could be read when its clock closed it: at the next message, or after the grace."""
    return np.minimum(row_ns + GRACE_NS, now_ns)


class Pipeline:
    """Log first, then compute, then hand to the sinks, for any number of symbols."""

    def __init__(
        self,
        kernel: Kernel,
        instruments: Instruments,
        *,
        raw_folder: Path,
        dead_letter: DeadLetter,
        sinks: Sequence[RowSink],
        availability: Availability,
        tape_sync_ms: int = DEFAULT_SYNC_MS,
    ) -> None:
        """tape_sync_ms: how long a message may wait to become durable."""
        self.counters = Counters()
        self._kernel = kernel
        self._instruments = instruments
        self._decoder = Decoder(instruments)
        self._raw_folder = raw_folder
        self._dead_letter = dead_letter
        self._sinks = tuple(sinks)
        self._availability = availability
        self._tape_sync_ms = tape_sync_ms
        self._lanes: dict[str, Lane] = {}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._lanes)

    @property
    def gaps(self) -> int:
        return sum(lane.gaps for lane in self._lanes.values())

    @property
    def late_messages(self) -> int:
        return sum(lane.late_messages for lane in self._lanes.values())

    @property
    def duplicates(self) -> int:
        return sum(lane.duplicates for lane in self._lanes.values())

    @property
    def redelivered(self) -> int:
        return sum(lane.redelivered for lane in self._lanes.values())

    def handle(self, message: TimedMessage, *, on_durable: Callable[[], object] | None = None) -> None:
        """Take one message; a rejected one is kept in the dead-letter and counted.

        on_durable: called once when the message may be acknowledged, now or later in another thread: its bytes are on
            the disk, or it is one that is not logged. Must not raise, nor call the pipeline.

        Raises StoreUnavailable when the tape cannot be written; from then on always.
        """
        self.counters.messages += 1
        seq_in_lane = self._take(message)
        if on_durable is None:
            return
        if seq_in_lane is None:
            on_durable()
        else:
            lane, seq = seq_in_lane
            lane.when_durable(seq, on_durable)

    def _take(self, message: TimedMessage) -> tuple[Lane, int] | None:
        """Where the message stands on a tape; None when it is not logged."""
        try:
            decoded = self._decoder.decode(message.body)
        except RejectedMessage as error:
            self.reject(message.body, recv_ns=message.recv_ns, reason=str(error), error=type(error).__name__)
            return None
        if decoded is None:
            self.counters.answers += 1
            return None
        lane = self._lanes.get(decoded.symbol) or self._open_lane(decoded.symbol, message.recv_ns)
        return lane, lane.take(decoded, message.body, recv_ns=message.recv_ns)

    def reject_line(self, line: RejectedLine, *, recv_ns: int) -> None:
        """Keep a recording's line that states no message; ``recv_ns`` is the time of the message before it."""
        self.counters.messages += 1
        reason = f"line {line.line_number}: {line.reason}"
        self.reject(line.body, recv_ns=recv_ns, reason=reason, error=type(line).__name__)

    def reject(self, body: bytes, *, recv_ns: int, reason: str, error: str) -> None:
        """Keep what cannot be used, with its reason."""
        self.counters.rejected += 1
        self._dead_letter.append(recv_ns=recv_ns, reason=reason, error=error, body=body)

    def advance(self, watermark_ns: int, *, now_ns: int) -> int:
        """Close every symbol's rows up to the watermark and hand them to the sinks; returns how many.

        now_ns: the present time, from which the rows' availability follows.
        """
        served = []
        for lane in self._lanes.values():
            rows = lane.advance(watermark_ns)
            if len(rows) > 0:
                served.append(ServedRows(rows, self._availability(rows.row_ns, now_ns)))
        if not served:
            return 0
        for sink in self._sinks:
            sink.write(served)
        count = sum(len(each.rows) for each in served)
        self.counters.rows += count
        return count

    def peek(self, symbol: str) -> FeatureRows:
        """The provisional row of a symbol. Raises KeyError for a symbol that has sent nothing."""
        return self._lanes[symbol].peek()

    def close(self) -> None:
        """Flush and close everything the pipeline writes to; each is closed whatever the others do."""
        with ExitStack() as stack:
            stack.callback(self._dead_letter.close)
            for sink in self._sinks:
                stack.callback(sink.close)
            for lane in self._lanes.values():
                stack.callback(lane.close)

    def _open_lane(self, symbol: str, recv_ns: int) -> Lane:
        instrument = self._instruments.get(symbol)
        assert instrument is not None, "decoding a message pins its symbol"
        tape = TapeWriter(self._raw_folder, symbol, sync_ms=self._tape_sync_ms)
        lane = Lane(Engine(self._kernel, instrument), tape, self._decoder)
        if tape.last_recv_ns is not None:
            horizon_ns = set_horizon_ns(self._kernel.feature_set)
            frames = read_tape_and_holes(self._raw_folder, symbol, from_ns=tape.last_recv_ns - horizon_ns)
            lane.resume(symbol, frames)
            lane.mark_restart(symbol, recv_ns)
        self._lanes[symbol] = lane
        return lane
