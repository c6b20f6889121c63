"""Ranges of time: half open, ns, joined where they touch and cut where others lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from market.clock import MINUTE_NS

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
Range = tuple[int, int]


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges without those that are empty, in order, with those that touch or overlap made one."""
    found: list[Range] = []
    for begin, end in sorted(each for each in ranges if each[0] < each[1]):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


def of_minutes(begins_ns: Int64s) -> list[Range]:
    """Minutes, int64 (n,), each by its begin in ns, as ranges; a month has 43,200 of them."""
    # Sorted, not np.unique, which hashes whole numbers and takes twenty times as long; what is twice is no cut.
    begins_ns = np.sort(begins_ns)
    cuts = np.flatnonzero(np.diff(begins_ns) > MINUTE_NS) + 1
    return [(int(each[0]), int(each[-1]) + MINUTE_NS) for each in np.split(begins_ns, cuts) if len(each)]


def minute_marks(span: Range, begins_ns: Int64s) -> Bools:
    """Of each minute of a span, the last of which may be a part, whether it is among these."""
    begin, end = span
    marks = np.zeros(-(-(end - begin) // MINUTE_NS), np.bool_)
    is_inside = (begins_ns >= begin) & (begins_ns < end) & (begins_ns % MINUTE_NS == 0)
    marks[(begins_ns[is_inside] - begin) // MINUTE_NS] = True
    return marks


def without(span: Range, taken: Sequence[Range]) -> list[Range]:
    """What of a span lies outside of ranges that are joined."""
    found, begin = [], span[0]
    for start, end in taken:
        if end <= begin:
            continue
        if start >= span[1]:
            break
        if begin < start:
            found.append((begin, start))
        begin = max(begin, end)
    return [*found, (begin, span[1])] if begin < span[1] else found
