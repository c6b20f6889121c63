"""The order book stream of a period: what its update ids say is missing, and how long the book was unusable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.book_sequence import Step, replacing, step_after
from market.clock import SECOND_NS
from market.events import CONTROL, FIRST, ORDERBOOK, START, Events
from quality.clock_offset import ClockOffset
from quality.limits import USUAL_LIMITS, QualityLimits

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MARK_EVERY_NS: Final = SECOND_NS
"""How often ingest marks that a queue is not read."""


@dataclass(slots=True)
class Hole:
    """Messages that are missing: the times of the last one before them and of the snapshot that repaired the book.

    missing: how many; 0 where their number is unknown, as after an interruption. repaired_ns: None while it lasts.
    first_id: update id of the first one that is missing; None where it is unknown.
    """

    begin_ns: int
    found_ns: int
    missing: int
    repaired_ns: int | None = None
    first_id: int | None = None


class BookHoles:
    """Takes the order book and control events of a period in tape order and counts.

    received: messages. missing: by update id. duplicates: messages whose update id was seen before. snapshots: messages
    that replace the book. interruptions: times at which ingest said that it may have missed messages, with the time of
    the message before. replaced: those of them after which a snapshot started again instead of the next update id,
    so that what was missed cannot be counted. offset: of the clocks. silences: (begin, end) of every pause that is
    longer than the limits say.
    """

    def __init__(
        self,
        *,
        last_id: int | None = None,
        last_ns: int | None = None,
        broken_by: Hole | None = None,
        limits: QualityLimits = USUAL_LIMITS,
    ) -> None:
        """What the period before left: the last update id and message, and the hole that no snapshot repaired yet."""
        self.received = self.missing = self.duplicates = self.snapshots = 0
        self.holes: list[Hole] = []
        self.interruptions: list[tuple[int, int]] = []
        self.replaced: list[tuple[int, int]] = []
        self._interrupted_ns: int | None = None
        self.silences: list[tuple[int, int]] = []
        self._longest_silence_ns = limits.silences_ns[ORDERBOOK]
        self.offset = ClockOffset(jump_ns=limits.clock_jump_ns)
        self.last_id = last_id
        self.last_ns = last_ns
        self.received_ns = last_ns
        """When the last message came, which no interruption moves."""
        self.broken_by = broken_by

    @property
    def outages(self) -> list[tuple[int, int]]:
        """The interruptions as somebody would count them: while one lasts a mark of it comes every second."""
        found: list[tuple[int, int]] = []
        for begin_ns, end_ns in self.interruptions:
            if found and begin_ns - found[-1][1] <= MARK_EVERY_NS:
                found[-1] = (found[-1][0], end_ns)
            else:
                found.append((begin_ns, end_ns))
        return found

    @property
    def expected(self) -> int:
        return self.received - self.duplicates + self.missing

    def add(self, events: Events, ends_run: Bools | None = None) -> None:
        """Take consecutive events; of other kinds only START matters.

        ends_run: of ``quality.book_runs``, where messages were left out, bool (n,). They are not received, and their
        times tell nothing; what is missing and what was replaced is found as if they were there.
        """
        chosen = np.flatnonzero(events["flags"] & FIRST)
        heads = events.take(chosen)
        ends = np.zeros(len(heads), np.bool_) if ends_run is None else ends_run.take(chosen)
        starts = np.flatnonzero((heads["kind"] == CONTROL) & (heads["field"] == START))
        begin = 0
        for start in starts.tolist():
            self._messages(heads[begin:start], ends[begin:start])
            self._interrupted(int(heads["recv_ns"][start]))
            begin = start + 1
        self._messages(heads[begin:], ends[begin:])

    def _interrupted(self, recv_ns: int) -> None:
        begin_ns = recv_ns if self.last_ns is None else self.last_ns
        self.interruptions.append((begin_ns, recv_ns))
        if self._interrupted_ns is None and self.last_ns is not None:
            self._interrupted_ns = begin_ns
        # The book goes on only if its next update id follows; a snapshot is no hole.
        self.last_ns = recv_ns

    def _messages(self, heads: Events, ends_run: Bools) -> None:
        is_book = heads["kind"] == ORDERBOOK
        books, ends_run = heads[is_book], ends_run[is_book]
        if len(books) == 0:
            return
        recv_ns = books["recv_ns"]
        if self._interrupted_ns is not None:
            if replacing(books[:1])[0] and int(books["update_id"][0]) != (self.last_id or 0) + 1:
                self.replaced.append((self._interrupted_ns, int(recv_ns[0])))
            self._interrupted_ns = None
        times = np.concatenate([[recv_ns[0] if self.last_ns is None else self.last_ns], recv_ns])
        for at in np.flatnonzero((np.diff(times) > self._longest_silence_ns) & ~ends_run).tolist():
            self.silences.append((int(times[at]), int(times[at + 1])))
        self.offset.add(recv_ns, books["event_ns"])
        self._sequence(books, ends_run)
        self.received += len(books)
        self.last_ns = self.received_ns = int(recv_ns[-1])

    def _sequence(self, books: Events, ends_run: Bools) -> None:
        ids = books["update_id"]
        is_snapshot = replacing(books)
        self.snapshots += int(np.count_nonzero(is_snapshot))
        before = np.concatenate([[ids[0] - 1 if self.last_id is None else self.last_id], ids[:-1]])
        breaks = np.flatnonzero((ids - before != 1) & ~is_snapshot & ~ends_run)
        if len(breaks) == 0 and self.broken_by is None:
            self.last_id = int(ids[-1])
            return
        self._walk(ids, is_snapshot, ends_run, books["recv_ns"])

    def _walk(self, ids: Int64s, is_snapshot: Bools, ends_run: Bools, recv_ns: Int64s) -> None:
        """Message by message: only a stretch with a break needs it."""
        last_ns = int(recv_ns[0]) if self.last_ns is None else self.last_ns
        columns = (ids.tolist(), is_snapshot.tolist(), ends_run.tolist(), recv_ns.tolist())
        for update_id, replaces, ends, at_ns in zip(*columns, strict=True):
            if replaces:
                if self.broken_by is not None:
                    self.broken_by.repaired_ns = at_ns
                    self.broken_by = None
                self.last_id = update_id
            elif ends:
                # The run's first may have been a repeated one; then some of the others were too.
                self.last_id = max(update_id, self.last_id or update_id)
            elif (step := self._step(update_id)) is Step.REPEATED:
                self.duplicates += 1
            else:
                if step is Step.GAP and self.last_id is not None:
                    self._found_hole(last_ns, at_ns, update_id - self.last_id - 1)
                self.last_id = update_id
            last_ns = at_ns

    def _step(self, update_id: int) -> Step:
        return Step.FOLLOWS if self.last_id is None else step_after(self.last_id, update_id, update_id)

    def _found_hole(self, begin_ns: int, found_ns: int, missing: int) -> None:
        self.missing += missing
        hole = Hole(begin_ns, found_ns, missing, first_id=None if self.last_id is None else self.last_id + 1)
        self.holes.append(hole)
        # Two holes before one snapshot are two holes of one repair.
        self.broken_by = self.broken_by or hole
