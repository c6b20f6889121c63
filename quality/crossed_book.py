"""Crossed books: seconds in which the order book was broken though no message of it was missing."""

from __future__ import annotations

from typing import Final

import numpy as np

from market.clock import SECOND_NS
from quality.book_holes import BookHoles
from transforms.rows import FeatureRows
from transforms.status import GAP

_READS_BOOK: Final = "orderbook"


def crossed_spans(rows: FeatureRows | None, book: BookHoles) -> list[tuple[int, int]] | None:
    """From the last row before to the last one of each time in which a crossed or locked book was not served.

    A book whose best bid is at or above its best ask is broken from then until the next snapshot, as one that lost a
    message is; so is one of more levels than it may have, which no exchange sends. A time with which the rows begin is
    left out: what broke the book lies before. None where no served group reads the book.
    """
    if rows is None or all(group.name != _READS_BOOK for group in rows.feature_set.groups):
        return None
    [at] = [index for index, group in enumerate(rows.feature_set.groups) if group.name == _READS_BOOK]
    is_broken = np.concatenate([[False], rows.status[:, at] == GAP, [False]])
    begins, ends = (np.flatnonzero(np.diff(is_broken.astype(np.int8)) == step) for step in (1, -1))
    known = [(hole.begin_ns, hole.found_ns) for hole in book.holes] + book.interruptions + book.replaced
    return [
        (int(rows.row_ns[begin - 1]), int(rows.row_ns[end - 1]))
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        if begin > 0 and not any(_breaks(span, int(rows.row_ns[begin])) for span in known)
    ]


def _breaks(span: tuple[int, int], row_ns: int) -> bool:
    """Whether what was missing in a span breaks the book at a row and not a second before."""
    begin_ns, end_ns = span
    return begin_ns < row_ns <= end_ns + SECOND_NS
