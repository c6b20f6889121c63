"""A tape by the minute: the events of each whole minute since a place, for what follows the streams from behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ingestion.pipeline.marks import hole_records
from ingestion.venues.decoders import Decoders
from market.clock import MINUTE_NS
from market.events import Events, empty_events
from storage.tape import Frame, Hole, read_tape_and_holes, read_tape_from
from transforms.tape_order import joined


def tape_minutes(
    raw_folder: Path, symbol: str, decoders: Decoders, *, begin_ns: int, end_ns: int, seq: int | None
) -> Iterator[tuple[int, Events, int | None]]:
    """The begin of each minute from ``begin_ns`` to ``end_ns``, its events, and the seq with which the next one begins.

    A minute ends before the first message that was received after it. seq: with which the first minute begins; None
    looks for it. The seq given back is None while nothing was read.

    Raises NotFound when the symbol has no tape, CorruptStore, and what decoding a message raises.
    """
    found = (
        read_tape_and_holes(raw_folder, symbol, from_ns=begin_ns, to_ns=end_ns)
        if seq is None
        else read_tape_from(raw_folder, symbol, seq)
    )
    waiting = next(found, None)
    for minute_ns in range(begin_ns, end_ns, MINUTE_NS):
        pieces: list[Events] = []
        while waiting is not None and waiting.recv_ns < minute_ns + MINUTE_NS:
            pieces.append(tape_records(decoders, symbol, waiting))
            seq = _next_seq(waiting)
            waiting = next(found, None)
        yield minute_ns, joined(pieces) if pieces else empty_events(0), seq


def tape_records(decoders: Decoders, symbol: str, found: Frame | Hole) -> Events:
    """What a frame states, or the replacement of a hole. Raises what decoding a message raises."""
    if isinstance(found, Hole):
        return hole_records(decoders, symbol, found) if found.next_seq is not None else empty_events(0)
    decoded = decoders.decode(found.body, found.recv_ns)
    assert decoded is not None, "only messages with market data are logged"
    return decoded.stamped(found.recv_ns, found.seq)


def _next_seq(found: Frame | Hole) -> int:
    if isinstance(found, Frame):
        return found.seq + 1
    return found.first_seq if found.next_seq is None else found.next_seq
