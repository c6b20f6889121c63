"""A run: messages of one symbol in a batch that ask for nothing but to be taken, as ``Lane.take`` would take each."""

from __future__ import annotations

from ingestion.decoding.batch import COUNT, EVENT_ID, EVENT_NS, REPLACES, SEQ, TRACE_ID, UPDATE_ID, Batch, Topic
from ingestion.pipeline.lane import Lane
from market.events import ORDERBOOK, TICKER, TRADE


class LaneRun:
    """Collects them; what a lane knows of them beside its tape and its engine is noted at once.

    The lane's engine must have begun.
    """

    def __init__(self, lane: Lane) -> None:
        closed_ns = lane.engine.closed_ns
        assert closed_ns is not None
        self.lane = lane
        self.messages: list[int] = []
        """Their places in the batch; the first has ``first_seq``."""
        self.first_seq = lane.tape.next_seq
        self.stamps_ns: list[int] = []
        self.records = 0
        self._closed_ns = closed_ns

    def add(self, batch: Batch, message: int, row: list[int], topic: Topic, recv_ns: int) -> bool:
        """Add a message if it asks for nothing else; False says nothing of it, and changes nothing."""
        kind, lane = topic.kind, self.lane
        memory = lane.memory
        event_id = batch.part(row, EVENT_ID)
        trade_ids = batch.ids_of(row) if kind == TRADE else ()
        has_ids = event_id is not None or kind == TRADE
        if has_ids and not memory.seen.is_new(event_id, trade_ids):
            return False
        stamp_ns = memory.stamp_ns((kind,), recv_ns, self._closed_ns)
        if kind == ORDERBOOK:
            seq = row[SEQ] if row[SEQ] >= 0 else None
            if row[REPLACES] or not memory.book.take_next(
                row[UPDATE_ID], seq, depth=topic.depth, event_ns=row[EVENT_NS], recv_ns=stamp_ns
            ):
                return False
            lane.has_book_messages = True
        elif kind == TICKER:
            fields = batch.fields_of(row)
            if lane.ticker.may_be_due(stamp_ns) or lane.ticker.objection(fields, recv_ns) is not None:
                return False
            lane.ticker.state(fields, stamp_ns)
        if has_ids:
            memory.seen.keep(event_id, trade_ids, self.first_seq + len(self.messages), stamp_ns)
        memory.last_stamp_ns[kind] = stamp_ns
        if stamp_ns != recv_ns:
            lane.arrivals.note(kind, recv_ns, stamp_ns)
        lane.trace_id = batch.part(row, TRACE_ID) or lane.trace_id
        self.messages.append(message)
        self.stamps_ns.append(stamp_ns)
        self.records += row[COUNT]
        return True
