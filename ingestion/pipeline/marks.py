"""What the service itself says on a tape of messages that are missing, and what stands in the place of a hole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.own import control_message
from ingestion.venues.decoders import Decoders
from market.events import CONTROL, GAP, KIND_COUNT, ORDERBOOK, START, Events, empty_events
from storage.tape import Hole

RESTART_REASON: Final = "ingest restarted"
LOST_REASON: Final = "messages on the tape cannot be read"
GAP_REASON: Final = "order book lost its sequence"


def hole_records(decoders: Decoders, symbol: str, hole: Hole) -> Events:
    """What stands in the place of a hole: a START, since messages before what follows are missing.

    Nothing in that of a damaged head, which costs no message: its seq is that of the frame after it.
    """
    if hole.next_seq == hole.first_seq:
        return empty_events(0)
    body = control_message(START, symbol=symbol, event_ns=hole.recv_ns, reason=LOST_REASON)
    decoded = decoders.decode(body, hole.recv_ns)
    assert decoded is not None
    return decoded.stamped(hole.recv_ns, hole.first_seq)


def kinds_changed(message: DecodedMessage) -> Iterable[int]:
    """The kinds of messages that a message must not come before, since it says something of what they brought."""
    if message.kind != CONTROL:
        return (message.kind,)
    if message.records["field"][0] == GAP:
        return (CONTROL, ORDERBOOK)
    kind = int(message.records["px"][0])
    return range(KIND_COUNT) if kind == CONTROL else (CONTROL, kind)
