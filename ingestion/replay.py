"""Replay: recorded messages through the pipeline on their own clock, as fast as the machine goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from ingestion.pipeline import Pipeline
from ingestion.recordings import RejectedLine
from ingestion.source import TimedMessage
from market.clock import SECOND_NS


def replay(
    pipeline: Pipeline,
    messages: Iterable[TimedMessage | RejectedLine],
    *,
    on_message: Callable[[int], None] = lambda _recv_ns: None,
) -> None:
    """Handle every message in order; before each, close the rows its receive clock has passed.

    on_message: called with each receive time, for progress.
    """
    last_ns = 0
    for message in messages:
        if isinstance(message, RejectedLine):
            pipeline.counters.messages += 1
            pipeline.reject(
                message.body,
                recv_ns=last_ns,
                reason=f"line {message.line_number}: {message.reason}",
                error="RejectedLine",
            )
            continue
        last_ns = message.recv_ns
        pipeline.advance(last_ns, now_ns=last_ns)
        pipeline.handle(message)
        on_message(last_ns)
    pipeline.advance(last_ns, now_ns=last_ns)


def paced(messages: Iterable[TimedMessage | RejectedLine], speed: float) -> Iterator[TimedMessage | RejectedLine]:
    """The messages at ``speed`` times the pace of their receive clock."""
    begun_ns: int | None = None
    start = time.monotonic()
    for message in messages:
        if isinstance(message, TimedMessage):
            if begun_ns is None:
                begun_ns = message.recv_ns
            due = start + (message.recv_ns - begun_ns) / SECOND_NS / speed
            time.sleep(max(0.0, due - time.monotonic()))
        yield message
