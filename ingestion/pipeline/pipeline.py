"""The pipeline: every symbol's messages to the tape, the engine and the sinks.

1. A message is decoded; one that cannot be goes to the dead-letter with its reason, and nothing else is affected.
2. Its symbol's lane stamps it, appends its bytes to the tape and feeds the engine.
3. ``advance`` closes the rows that the watermark has passed and hands them to every sink: at whole seconds those of
   all symbols, at a tick of the row grid between two seconds those of the symbols that have changed; see ``closing``.
4. Another registry version comes in the place of the one before at a whole second, for all symbols; see ``change``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ingestion.decoding.scales import Instruments
from ingestion.messages import RejectedLine, TimedMessage
from ingestion.pipeline.batches import Batches
from ingestion.pipeline.change import EngineChange
from ingestion.pipeline.closing import Closing
from ingestion.pipeline.counters import Counters
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.lane import Lane
from ingestion.pipeline.lanes import History, LaneRules, Lanes
from ingestion.pipeline.own_symbols import ForeignSymbol, OwnInstruments
from ingestion.pipeline.rejections import Rejections
from ingestion.pipeline.resuming import VersionBefore
from ingestion.pipeline.served_rows import Availability, RowSink
from ingestion.pipeline.silence import steps_to
from ingestion.venues.decoders import Decoders, venue_of
from market.clock import HOUR_NS, SECOND_NS
from market.errors import MalformedMessage, RejectedMessage
from market.events import CONTROL, TICKER
from market.markets import DEFAULT_MARKET, Market
from storage.raw.published import Published
from storage.tape import DEFAULT_SYNC_MS
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, FeatureSet


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
        grid_ns: int = SECOND_NS,
        tape_sync_ms: int = DEFAULT_SYNC_MS,
        tape_segment_ns: int = HOUR_NS,
        market: Market = DEFAULT_MARKET,
        symbols: Collection[str] | None = None,
        history: History | None = None,
        on_gap: Callable[[str], object] = lambda _symbol: None,
        claim: Callable[[str], object] = lambda _symbol: None,
        withhold: Callable[[FeatureRows], FeatureRows] = lambda rows: rows,
        before: VersionBefore | None = None,
        published: Published | None = None,
    ) -> None:
        """symbols: those to take, None is all. withhold: what becomes of rows before anybody gets them.

        From grid_ns to market, and from history on but for it: see ``LaneRules``.
        """
        self.counters = Counters()
        own = instruments if symbols is None else OwnInstruments(instruments, symbols)
        self.decoders = Decoders(venue_of(market), own)
        rules = LaneRules(
            raw_folder, grid_ns, tape_sync_ms, tape_segment_ns, market, history, on_gap, claim, before, published
        )
        self._closing = Closing(self.counters, sinks, availability, withhold)
        self._lanes = Lanes(kernel, instruments, self.decoders, rules, serve=self._closing.served)
        self.rows_again = self._lanes.rows_again
        """See ``Lanes``; from any thread."""
        self._dead_letter = dead_letter
        self._symbols = None if symbols is None else frozenset(symbols)
        self._rejections = Rejections(dead_letter, self._lanes, self.decoders, self._symbols)
        self._batches = Batches(self.decoders, self._lanes, self.counters, self.handle)

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The lane of each symbol that has one."""
        return self._lanes.by_symbol

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._lanes.by_symbol)

    @property
    def feature_set(self) -> FeatureSet:
        """Whose columns the next rows have."""
        return self._lanes.kernel.feature_set

    def begin_change(self, change: EngineChange) -> None:
        """Change to another version as ``change`` says; from any thread. One at a time."""
        self._lanes.change = change

    def rejected_of(self, symbol: str) -> int:
        """Messages whose topic names the symbol and that could not be used."""
        return self._rejections.of(symbol)

    @property
    def rejected_by_error(self) -> dict[str, dict[str, int]]:
        """Messages that could not be used by symbol and class of error; "" is those that name no symbol of ours."""
        return self._rejections.by_error

    @property
    def first_rejection(self) -> str | None:
        return self._rejections.first

    @property
    def gaps(self) -> int:
        return sum(lane.losses.gaps for lane in self._lanes.by_symbol.values())

    @property
    def late_messages(self) -> int:
        return sum(lane.arrivals.late for lane in self._lanes.by_symbol.values())

    @property
    def duplicates(self) -> int:
        return sum(lane.losses.duplicates for lane in self._lanes.by_symbol.values())

    @property
    def ignored(self) -> int:
        return sum(lane.ignored for lane in self._lanes.by_symbol.values())

    @property
    def redelivered(self) -> int:
        return sum(lane.arrivals.repeated for lane in self._lanes.by_symbol.values())

    def handle(self, message: TimedMessage, *, on_durable: Callable[[], object] | None = None) -> None:
        """Take one message; a rejected one is kept in the dead-letter and counted.

        on_durable: called once when the message may be acknowledged, now or later in another thread: its bytes are on
            the disk, on the tape or in the dead-letter, or it is one that is not kept. Must not raise, nor call the
            pipeline.

        Raises StoreUnavailable when the tape or the dead-letter cannot be written; from then on always.
        """
        self.counters.messages += 1
        try:
            decoded = self.decoders.decode(message.body, message.recv_ns)
        except (ForeignSymbol, RejectedMessage) as error:
            if isinstance(error, ForeignSymbol) or self._rejections.is_foreign(message.body):
                self._pass_over(on_durable)
            else:
                self._refuse(message, error, on_durable)
            return
        is_foreign = decoded is not None and self._symbols is not None and decoded.symbol not in self._symbols
        if decoded is None or is_foreign:
            self.counters.answers += decoded is None
            self.counters.foreign += is_foreign
            if on_durable is not None:
                on_durable()
            return
        lane = self._lanes.by_symbol.get(decoded.symbol)
        if lane is None:
            if decoded.kind == CONTROL and not self.go_on(decoded.symbol, now_ns=message.recv_ns):
                if on_durable is not None:
                    on_durable()
                return  # nothing is known of the symbol that could be missing
            lane = self.lanes.get(decoded.symbol) or self._lanes.open(decoded.symbol, message.recv_ns)
        self._lanes.pin(decoded.symbol, lane)
        if decoded.kind == TICKER and (objection := lane.ticker.objection(decoded.fields, message.recv_ns)):
            self._refuse(message, objection, on_durable)
            return
        seq = lane.take(decoded, message.body, recv_ns=message.recv_ns)
        if on_durable is not None:
            lane.tape.when_durable(seq, on_durable)

    def handle_many(
        self, messages: Sequence[TimedMessage], *, on_durable: Sequence[Callable[[], object] | None] = ()
    ) -> None:
        """Take messages in order, as ``handle`` does one after the other. on_durable: of each of them, or none."""
        if messages:
            self._batches.take(messages, on_durable or [None] * len(messages))

    def _refuse(self, message: TimedMessage, error: RejectedMessage, on_durable: Callable[[], object] | None) -> None:
        name = type(error).__name__
        self.reject(message.body, recv_ns=message.recv_ns, reason=str(error), error=name, on_durable=on_durable)

    def _pass_over(self, on_durable: Callable[[], object] | None) -> None:
        self.counters.foreign += 1
        if on_durable is not None:
            on_durable()

    def reject_line(self, line: RejectedLine, *, recv_ns: int) -> None:
        """Keep a recording's line that states no message; ``recv_ns`` is the time of the message before it."""
        self.counters.messages += 1
        self.reject(
            line.body, recv_ns=recv_ns, reason=f"line {line.line_number}: {line.reason}", error=type(line).__name__
        )

    def reject_stamp(self, body: bytes, *, recv_ns: int, stamp_ns: int) -> None:
        """Keep a message whose receive time is none: it would set its symbol's time to it for good."""
        self.counters.messages += 1
        reason = f"received_at: must be a time since which the service can have run, was {stamp_ns} ns"
        self.reject(body, recv_ns=recv_ns, reason=reason, error=MalformedMessage.__name__)

    def reject(
        self, body: bytes, *, recv_ns: int, reason: str, error: str, on_durable: Callable[[], object] | None = None
    ) -> None:
        """Keep what cannot be used, with its reason; what it would have changed is unknown from then on.

        on_durable: called once both are on the disk; see ``handle``.
        """
        self.counters.rejected += 1
        self._rejections.keep(body, recv_ns=recv_ns, reason=reason, error=error, on_durable=on_durable)

    def go_on(self, symbol: str, *, now_ns: int) -> bool:
        """Continue where the symbol's tape ended, before its first message; False if it has none."""
        return self._lanes.go_on(symbol, now_ns=now_ns)

    def steps_to(self, watermark_ns: int, *, leaves_out: bool = False) -> Iterator[int]:
        """Watermarks to ``advance`` to, one after the other, the last one ``watermark_ns``.

        More than one after a long silence alone: each closes at most some ROWS_AT_ONCE, so that memory does not grow
        with the silence. leaves_out: whether whole hours of one that is longer than a day have no rows, see
        ``silence``; else every second has one.
        """
        lanes = self._lanes.by_symbol.values()
        for lane in lanes if leaves_out else ():
            lane.silence.look(lane.engine, watermark_ns)
        yield from steps_to(watermark_ns, [(lane.engine, lane.silence) for lane in lanes])

    def advance(self, watermark_ns: int, *, now_ns: int) -> int:
        """Close every symbol's rows up to the watermark and hand them to the sinks; returns how many.

        now_ns: the present time, from which the rows' availability follows.
        """
        return self._closing.advance(self._lanes, watermark_ns, now_ns)

    def close(self) -> None:
        """Flush and close everything the pipeline writes to; each is closed whatever the others do."""
        with ExitStack() as stack:
            stack.callback(self._dead_letter.close)
            for sink in self._closing.sinks:
                stack.callback(sink.close)
            self._lanes.close(stack)
