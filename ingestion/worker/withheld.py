"""Groups that are withheld: served as NaN with the reason QUARANTINED, from a whole second on and up to one.

So a tick between two seconds is withheld as the row at the second after it, which the feature log has.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

import numpy as np

from market.clock import SECOND_NS, floor_to
from market.errors import StoreUnavailable
from transforms.rows import FeatureRows
from transforms.status import QUARANTINED

ASK_S: Final = 1.0
Groups = Collection[tuple[str, str]]
"""Symbol and group of each that is withheld."""
_EVER: Final = 2**62

_log = logging.getLogger(__name__)


class WithheldGroups:
    """What is withheld by one worker; ``apply`` is called by the thread that computes."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], tuple[int, int]] = {}
        """Of each group the row time after which and up to which it is withheld."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def update(self, groups: Groups, *, now_ns: int) -> None:
        """These are withheld, and no others, from the next whole second on. now_ns: of the worker's clock."""
        from_ns = floor_to(now_ns, SECOND_NS) + SECOND_NS
        spans = dict(self._spans)
        for key, (begin_ns, end_ns) in self._spans.items():
            if key not in groups and end_ns == _EVER:
                spans[key] = begin_ns, from_ns
                _log.warning("%s: %s is served again", *key)
        for key in groups:
            if spans.get(key, (0, 0))[1] != _EVER:
                spans[key] = from_ns, _EVER
                _log.error("%s: %s is withheld: what was served differs from the tape", *key)
        self._spans = {key: span for key, span in spans.items() if span[1] >= now_ns - SECOND_NS}

    def apply(self, rows: FeatureRows) -> FeatureRows:
        """The rows with what is withheld taken out; the rows themselves where nothing is."""
        if not self._spans:
            return rows
        for number, group in enumerate(rows.feature_set.groups):
            span = self._spans.get((rows.symbol, group.name))
            if span is None:
                continue
            chosen = np.flatnonzero((rows.row_ns > span[0]) & (rows.row_ns <= span[1]))
            if len(chosen):
                rows = _without(rows, chosen, number)
        return rows

    def keep(self, read: Callable[[], Groups], *, now_ns: Callable[[], int]) -> None:
        """Ask what is withheld, now and every second until ``close``. While the database is away it stays as it is."""
        self._ask(read, now_ns)
        self._thread = threading.Thread(target=self._run, args=(read, now_ns), name="withheld groups", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, read: Callable[[], Groups], now_ns: Callable[[], int]) -> None:
        while not self._stopping.wait(ASK_S):
            self._ask(read, now_ns)

    def _ask(self, read: Callable[[], Groups], now_ns: Callable[[], int]) -> None:
        try:
            self.update(read(), now_ns=now_ns())
        except StoreUnavailable as error:
            _log.debug("withheld groups stay unchanged: %s", error)


def _without(rows: FeatureRows, chosen: np.ndarray[tuple[int], np.dtype[np.intp]], number: int) -> FeatureRows:
    values, status = rows.values.copy(), rows.status.copy()
    reasons = None if rows.reasons is None else rows.reasons.copy()
    at = np.ix_(chosen, np.asarray(rows.feature_set.groups[number].indices, np.intp))
    values[at] = np.nan
    status[chosen, number] = QUARANTINED
    if reasons is not None:
        reasons[at] = QUARANTINED
    return FeatureRows(rows.symbol, rows.feature_set, rows.row_ns, values, status, reasons)
