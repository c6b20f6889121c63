"""Long silences: the rows of one that nobody is given afterwards, and how an engine passes over what no row sees.

A row depends on the messages of its horizon and on what is known at its time. So an engine that reaches a row through
the last SETTLE_NS alone computes the same bits as one that went through every second of the silence before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, HOUR_NS, SECOND_NS, floor_to
from transforms.state import SECONDS_KEPT

Int64s = npt.NDArray[np.int64]
Period = tuple[int, int]
"""Two times; what is between them, without either."""

LONG_NS: Final = DAY_NS
SETTLE_NS: Final = (2 * SECONDS_KEPT + 1) * SECOND_NS
"""Tiles look back SECONDS_KEPT seconds, and normalised columns as far over the rows made of them."""


def hours_left_out(stamps_ns: Iterable[int]) -> tuple[Period, ...]:
    """Of each silence longer than LONG_NS the whole hours, whose rows are computed for nobody when it is over.

    stamps_ns: times of messages, ascending, with that at which the silence is looked at. The rows at both ends of a
    period are computed: the first one shows what came last.
    """
    return tuple(
        (floor_to(before_ns, HOUR_NS) + HOUR_NS, floor_to(after_ns, HOUR_NS))
        for before_ns, after_ns in pairwise(stamps_ns)
        if after_ns - before_ns > LONG_NS
    )


def is_between(row_ns: Int64s, periods: Iterable[Period]) -> npt.NDArray[np.bool_]:
    """Which of the rows are in one of the periods; bool (n,)."""
    found = np.zeros(len(row_ns), bool)
    for begin_ns, end_ns in periods:
        found |= (row_ns > begin_ns) & (row_ns < end_ns)
    return found


def seconds_due(after_ns: int, until_ns: int, without: Sequence[Period]) -> Int64s:
    """The whole seconds in (after_ns, until_ns] that are in none of the periods, int64 (n,), ascending.

    without: in order; ends at whole seconds.
    """
    at_ns = floor_to(after_ns, SECOND_NS) + SECOND_NS
    if not without:
        return np.arange(at_ns, until_ns + 1, SECOND_NS)
    pieces = []
    for begin_ns, end_ns in without:
        pieces.append(np.arange(at_ns, min(begin_ns, until_ns) + 1, SECOND_NS))
        at_ns = max(at_ns, end_ns)
    return np.concatenate([*pieces, np.arange(at_ns, until_ns + 1, SECOND_NS)])


def calls(due_ns: Int64s, until_ns: int, rows_a_call: int) -> Iterator[tuple[Int64s, int]]:
    """Rows for one call of a kernel each, and up to when it closes; cut where what is between can be passed over.

    due_ns: int64 (n,), ascending, up to ``until_ns``. The last call closes ``until_ns``, and may have no row.
    """
    cuts = (np.flatnonzero(np.diff(due_ns) > SETTLE_NS) + 1).tolist() if len(due_ns) > 1 else []
    edges = [0, *cuts, len(due_ns)]
    pieces = [
        due_ns[first : min(first + rows_a_call, end)]
        for begin, end in pairwise(edges)
        for first in range(begin, end, rows_a_call)
    ]
    if not pieces or until_ns - int(pieces[-1][-1]) > SETTLE_NS:
        pieces.append(due_ns[:0])
    for at, chosen_ns in enumerate(pieces, start=1):
        yield chosen_ns, until_ns if at == len(pieces) else int(chosen_ns[-1])
