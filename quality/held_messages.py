"""Held messages: of a stretch of a stream from when to when, how many a UTC day, and which of them were backfilled."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from market.clock import DAY_NS
from market.events import Events
from quality.time_ranges import Int64s, Range


@dataclass(frozen=True, slots=True)
class HeldMessages:
    """Messages of one kind.

    span: [first, last + 1) of when they came, ns. by_day: how many, by the begin of a UTC day and whether they were
    backfilled. sources: the spans of messages in a row from one source, in tape order, and whether it is a backfill.
    """

    span: Range
    by_day: Mapping[tuple[int, bool], int]
    sources: tuple[tuple[Range, bool], ...]


def held_messages(heads: Events, at_ns: Int64s) -> HeldMessages | None:
    """Of the first record of each message, in tape order; None where there is none.

    at_ns: the time for whose day each of them counts, int64 (n,).
    """
    if len(heads) == 0:
        return None
    recv_ns, is_backfilled = heads["recv_ns"], heads["seq"] < 0
    days = at_ns // DAY_NS
    first = int(days.min())
    # By place and not by np.unique, which takes ten times as long.
    counts = np.bincount(2 * (days - first) + is_backfilled)
    cuts = [0, *(np.flatnonzero(np.diff(is_backfilled)) + 1).tolist(), len(heads)]
    return HeldMessages(
        (int(recv_ns.min()), int(recv_ns.max()) + 1),
        {((first + at // 2) * DAY_NS, bool(at % 2)): int(counts[at]) for at in np.flatnonzero(counts).tolist()},
        tuple(
            ((int(recv_ns[begin:end].min()), int(recv_ns[begin:end].max()) + 1), bool(is_backfilled[begin]))
            for begin, end in itertools.pairwise(cuts)
        ),
    )
