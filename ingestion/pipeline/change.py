"""A change of the registry version of a running pipeline, seen from the thread that computes.

1. ``ask_for_followers``: with the next rows every lane gets a follower, which takes each record from then on. What
   came before, ``marks`` says of each symbol; a background thread makes engines that have it, and ``begin``s them.
2. ``follow``: the background thread closes the rows that are served already with the other version's engines too, and
   compares the columns that both have by their bits.
3. ``ask_for`` a row time: behind it, all lanes change engines between two rows. Nothing of that waits but for the few
   records since ``follow``.
4. The engines before follow on for PROBATION_ROWS rows. Where the new version raises at one of these, or costs too
   much, they take their places again at that very row: no row is missed, and none is served twice.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingestion.pipeline.follower import Follower
from ingestion.pipeline.lane import Lane
from ingestion.pipeline.past_books import PastBook
from market.clock import SECOND_NS, floor_to, format_iso
from market.errors import FeatureServiceError
from market.instruments import Instrument
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows

PROBATION_ROWS: Final = 5
"""Whole seconds after the change for which the version before is ready to go on."""
LEAST_COSTS: Final = 3
"""Measurements of which the median is the cost of a row."""
HELD_S: Final = 0.1
"""How long the change of engines waits for the background thread, which closes a second of rows at most."""
MOST_DELAYS: Final = 10
LONGEST_REASON: Final = 500


class ChangeFailed(FeatureServiceError):
    """A version cannot take the place of the one that is served; the message says why."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a lane stood: the tick up to which it was closed, None before the first, and the last seq on its tape.

    books: what is known of its order book at moments before, oldest first; where warming up begins.
    """

    symbol: str
    instrument: Instrument
    closed_ns: int | None
    through_seq: int
    books: tuple[PastBook, ...] = ()


class EngineChange:
    """The change of one pipeline from the kernel ``serving`` to ``kernel``, and back where that fails.

    budget_ms: what a row may cost of processor time.
    """

    def __init__(self, before: Kernel, kernel: Kernel, *, budget_ms: float) -> None:
        self.kernel = kernel
        self.serving = before
        self.compared = 0
        """Rows of both versions whose common columns had the same bits."""
        self.changed_ns: int | None = None
        """The last row of the version before; None until the engines have changed."""
        self.failure: str | None = None
        """Why the version before goes on."""
        self.marks: dict[str, Mark] = {}
        self.is_over = False
        """Whether it is decided: nothing follows any more."""
        self._before = before
        self._budget_ms = budget_ms
        self._common = common_columns(before, kernel)
        self._costs: list[float] = []
        self._lock = threading.Lock()
        self._has_followers = threading.Event()
        self._decided = threading.Event()
        self._wants_followers = False
        self._asked_ns: int | None = None
        self._wants_back: str | None = None
        self._delays = 0

    @property
    def is_on_probation(self) -> bool:
        return self.changed_ns is not None and not self.is_over

    @property
    def cost_ms(self) -> float | None:
        """What a row has cost, ms of processor time; None before it was measured often enough."""
        return statistics.median(self._costs) if len(self._costs) >= LEAST_COSTS else None

    @property
    def rows_tried(self) -> int:
        """Rows of each symbol that ``follow`` has closed."""
        return len(self._costs)

    # The background thread's.

    def ask_for_followers(self, timeout_s: float) -> None:
        """Wait until every lane has a follower. Raises ChangeFailed where no row was closed in the time."""
        self._wants_followers = True
        if not self._has_followers.wait(timeout_s):
            raise ChangeFailed(f"followers: must begin with a row within {timeout_s:g} s, no row was closed")

    def follow(self, lanes: Mapping[str, Lane]) -> None:
        """Close with the other version what is served already, and compare. Raises ChangeFailed."""
        with self._lock:
            if self.is_over or self.changed_ns is not None:
                return
            spent_s, rows = 0.0, 0
            for symbol, lane in list(lanes.items()):
                begun_s = time.thread_time()
                closed = self._close(symbol, lane)
                spent_s += time.thread_time() - begun_s
                rows += len(closed)
                self.compare(closed, lane.closed.remembered)
            if rows:
                self._costs = [*self._costs, 1000 * spent_s / rows][-60:]
        self.check_cost(self.cost_ms)

    def follow_or_end(self, lanes: Mapping[str, Lane]) -> None:
        """``follow``; what it raises is why the version before goes on."""
        try:
            self.follow(lanes)
        except ChangeFailed as error:
            self.ask_back(str(error))

    def check_cost(self, cost_ms: float | None) -> None:
        """Raises ChangeFailed for a row that costs more than it may."""
        if cost_ms is not None and cost_ms > self._budget_ms:
            raise ChangeFailed(f"cost of a row: must be at most {self._budget_ms:g} ms, was {cost_ms:.2f} ms")

    def compare(self, rows: FeatureRows, served: Iterable[FeatureRows]) -> None:
        """Hold rows against those that were served at their times. Raises ChangeFailed for a column that differs."""
        at_of = {int(row_ns): at for at, row_ns in enumerate(rows.row_ns)}
        for each in served:
            at = at_of.get(int(each.row_ns[0]))
            if at is None or each.feature_set is not self._before.feature_set:
                continue
            self.compared += 1
            old, new = each.values[0, self._common[0]], rows.values[at, self._common[1]]
            differing = np.flatnonzero(old.view(np.int64) != new.view(np.int64))
            if len(differing) > 0:
                column = each.feature_set.columns[self._common[0][differing[0]]]
                raise ChangeFailed(
                    f"{rows.symbol} {column} at {format_iso(int(each.row_ns[0]))}: must have the bits that were "
                    f"served, {float(old[differing[0]])!r}, was {float(new[differing[0]])!r}"
                )

    def ask_for(self, row_ns: int) -> None:
        """Change engines behind the row of that time, a whole second, or behind the next one where it is over."""
        self._asked_ns = row_ns

    def ask_back(self, reason: str) -> None:
        """Let the version before go on: at once where it still serves, else behind the next row at a whole second."""
        with self._lock:
            if self.is_over:
                return
            if self.changed_ns is None:
                self._end(reason)
            else:
                self._wants_back = reason

    def wait_decided(self, timeout_s: float) -> bool:
        """Wait until it is over; whether it is."""
        return self._decided.wait(timeout_s)

    # The computing thread's.

    def join(self, lane: Lane, *, is_new: bool) -> None:
        """A lane was opened. is_new: it has no tape yet."""
        if self.is_over or not self._has_followers.is_set():
            return
        if is_new:
            other = self.kernel if self.changed_ns is None else self._before
            lane.follower = Follower(Engine(other, lane.engine.instrument, grid_ns=lane.engine.grid_ns))
        else:
            self.ask_back("a symbol went on meanwhile that had not been warmed up")

    def boundary_ns(self, lanes: Mapping[str, Lane], watermark_ns: int) -> int | None:
        """The whole second up to ``watermark_ns`` behind which engines change, with the rows up to it served."""
        if self._wants_followers and not self._has_followers.is_set() and not self.is_over:
            self._attach(lanes)
        asked_ns = self._asked_ns if self.changed_ns is None else 0 if self._wants_back else None
        if self.is_over or asked_ns is None:
            return None
        served_ns = max((lane.closed.until_ns or 0 for lane in lanes.values()), default=0)
        boundary_ns = max(asked_ns, served_ns + -served_ns % SECOND_NS)
        return boundary_ns if boundary_ns <= watermark_ns else None

    def cross(self, lanes: Mapping[str, Lane], boundary_ns: int) -> None:
        """Change engines, all lanes or none."""
        if self._wants_back is not None:
            self.take_back(lanes, self._wants_back)
            return
        if not self._lock.acquire(timeout=HELD_S):
            self._delay("the rows before took too long")
            return
        try:
            if self.is_over:
                return
            for symbol, lane in lanes.items():
                self.compare(self._close(symbol, lane), lane.closed.remembered)
            for lane in lanes.values():
                lane.change_engine()
            self.serving, self.changed_ns, self._costs = self.kernel, boundary_ns, []
        except ChangeFailed as error:
            self._end(str(error))
        finally:
            self._lock.release()

    def take_back(self, lanes: Mapping[str, Lane], reason: str) -> None:
        """Go on with the engines of before, from the row after the last that was served."""
        for lane in lanes.values():
            follower = lane.follower
            assert follower is not None, "every lane has one while the version is on probation"
            follower.close(lane.closed.until_ns)
            lane.change_engine()
        self.serving = self._before
        self._end(reason)

    def note_cost(self, spent_s: float, rows: int) -> None:
        """What rows after the change cost of processor time."""
        if rows:
            self._costs.append(1000 * spent_s / rows)

    def note_served(self, lanes: Mapping[str, Lane], watermark_ns: int) -> None:
        """Rows up to there are served: end the probation when it was long enough or cost too much."""
        if self.is_on_probation:
            self._look(floor_to(watermark_ns, SECOND_NS))
        if self.is_over:
            for lane in lanes.values():
                lane.follower = None

    def _look(self, served_ns: int) -> None:
        assert self.changed_ns is not None
        try:
            self.check_cost(self.cost_ms)
        except ChangeFailed as error:
            self._wants_back = self._wants_back or f"after the change: {error}"
        if self._wants_back is None and served_ns >= self.changed_ns + PROBATION_ROWS * SECOND_NS:
            with self._lock:
                if self._wants_back is None:
                    self._end(None)

    def _close(self, symbol: str, lane: Lane) -> FeatureRows:
        follower = lane.follower
        until_ns = lane.closed.until_ns  # before the records are taken: of what is older, none comes any more
        if follower is None or not follower.has_begun:
            raise ChangeFailed(f"{symbol}: must have been warmed up, was not")
        try:
            return follower.close(until_ns)
        except Exception as error:  # whatever a kernel raises: the version is of no use
            raise ChangeFailed(f"{symbol}: a row could not be computed: {said(error)}") from error

    def _attach(self, lanes: Mapping[str, Lane]) -> None:
        for symbol, lane in lanes.items():
            self.marks[symbol] = mark_of(symbol, lane)
            lane.follower = Follower()
        self._has_followers.set()

    def _delay(self, reason: str) -> None:
        """Try again behind the next row; not forever."""
        self._delays += 1
        if self._delays > MOST_DELAYS:
            self._end(reason)

    def _end(self, reason: str | None) -> None:
        self.failure = None if reason is None else reason[:LONGEST_REASON]
        self.is_over = True
        self._decided.set()


def mark_of(symbol: str, lane: Lane) -> Mark:
    """Where a lane stands; from any thread: what is not closed yet is on the tape up to the seq, or comes later."""
    closed_ns = lane.closed.until_ns
    return Mark(symbol, lane.engine.instrument, closed_ns, lane.last_seq)


def common_columns(before: Kernel, after: Kernel) -> tuple[list[int], list[int]]:
    """Where the columns that both versions have stand in each."""
    places = {name: at for at, name in enumerate(after.feature_set.columns)}
    both = [(at, places[name]) for at, name in enumerate(before.feature_set.columns) if name in places]
    return [at for at, _ in both], [at for _, at in both]


def said(error: BaseException) -> str:
    """An error in a line, which a person may read who does not know where it was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines else ""
    return text if isinstance(error, FeatureServiceError) else f"{type(error).__name__}: {text}".rstrip(": ")
