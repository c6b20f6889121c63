"""Replay: recorded messages through the pipeline on their own clock, as fast as the machine goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ingestion.pipeline.pipeline import Pipeline
from ingestion.sources.played.recordings import RejectedLine
from ingestion.sources.source import TimedMessage


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
            pipeline.reject_line(message, recv_ns=last_ns)
            continue
        last_ns = message.recv_ns
        pipeline.advance(last_ns, now_ns=last_ns)
        pipeline.handle(message)
        on_message(last_ns)
    pipeline.advance(last_ns, now_ns=last_ns)
