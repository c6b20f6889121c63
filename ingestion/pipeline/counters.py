"""What a pipeline has met since it began."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What the pipeline has met since it began; ``foreign`` messages are of symbols that it was not given.

    rows are at whole seconds, tick_rows between; in_runs are messages that were taken with others of a batch.
    """

    messages: int = 0
    in_runs: int = 0
    answers: int = 0
    foreign: int = 0
    rejected: int = 0
    rows: int = 0
    tick_rows: int = 0
