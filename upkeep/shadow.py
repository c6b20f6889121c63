"""Shadow parity of one symbol: the rows that readers had are computed a second time, from the tape, and compared.

1. Rows wait until the tape shows a message that was received after them, or FINAL_S long where none comes: what they
   were made of can be read then.
2. The first one begins an engine as a rebuild does, from raw Parquet and the tape read as one; from then on it takes
   what is appended to the tape.
3. All rows that are due in a check are computed in one call, and compared by bits with what was found: as they were
   published, and as they stand in the online store.
4. A difference is confirmed when an engine that starts again finds it too.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from ingestion.tape.minutes import tape_records
from ingestion.venues.decoders import Decoders
from market.errors import FeatureServiceError
from market.events import KIND_COUNT
from quality.shadow import ShadowMismatch, ShadowParity, compare_served
from storage.online.vector import OnlineVector
from storage.raw.raw_data import RawData
from storage.tape import TapeFollower
from storage.tape.frames import FIRST_SEQ
from training_sets.rebuild.rebuild import begin_engine
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, joined_rows
from transforms.tape_order import joined
from upkeep.shadow_rows import ServedBlocks, ShadowRow, row_order, same_row

SETTLE_S: Final = 2.0
"""A row that came no longer ago waits, whatever the tape shows: its messages are written in groups."""
FINAL_S: Final = 20.0
"""A row is compared then though no later message is on the tape: of a silent symbol none comes."""
CONFIRM_EVERY_S: Final = 60.0
"""How long a difference that was confirmed speaks for those that follow."""
MOST_WAITING: Final = 2000
"""Rows of a symbol that wait: more than three minutes of every tick of 100 ms."""
PUBLISHED: Final = "the published row"
STORED: Final = "the online store"
OLDER: Final = "the row is older than what was computed"
_NO_TIMES: Final = np.empty(0, np.int64)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ShadowLook:
    """What one look at a symbol found. not_compared: how many rows could not be, by the reason."""

    symbol: str
    compared: int = 0
    mismatched: int = 0
    quarantined: int = 0
    last_row_ns: int | None = None
    mismatches: tuple[ShadowMismatch, ...] = ()
    not_compared: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class ShadowSource:
    """What a row is computed from. open_raw: all that is known of a symbol, as ``RawHistory.open_whole``.

    grid_ns: the row grid. settle_s: how long after a row came its messages may still be on their way to the tape.
    """

    raw_folder: Path
    open_raw: Callable[[str], AbstractContextManager[RawData]]
    decoders: Callable[[str], Decoders]
    kernel: Kernel
    grid_ns: int
    settle_s: float = SETTLE_S


class SymbolShadow:
    """The second computation of one symbol's rows; times are seconds that never step back."""

    def __init__(self, source: ShadowSource, symbol: str) -> None:
        self.symbol = symbol
        self._source = source
        self._came: deque[ShadowRow] = deque(maxlen=2 * MOST_WAITING)  # while a look takes long
        self._missed_rows: deque[tuple[int, str]] = deque()
        self._waiting: deque[ShadowRow] = deque()
        self._newest: ShadowRow | None = None
        self._stored: ShadowRow | None = None  # newer than what was published by then
        self._missed: Counter[str] = Counter()
        self._shown_ns = 0
        self._engine: Engine | None = None
        self._tape: TapeFollower | None = None
        self._decoders: Decoders | None = None
        self._last: FeatureRows | None = None
        self._confirmed_s = -math.inf
        self._blocks = ServedBlocks(source.kernel.feature_set)

    def take_published(self, vector: OnlineVector, now_s: float) -> None:
        """A row as it was published; from any thread."""
        self._came.append(ShadowRow(vector, PUBLISHED, now_s))

    def miss(self, count: int, reason: str) -> None:
        """So many rows were served that did not come here; from any thread."""
        self._missed_rows.append((count, reason))

    def take_stored(self, vector: OnlineVector, now_s: float) -> None:
        """The row in the online store. It is compared if it is not what was published at its time.

        Of a symbol that is served it is mostly newer than what came here by then, and waits for that.
        """
        self._take_in()
        newest = self._newest
        if newest is None or row_order(vector) > row_order(newest.vector):
            self._stored = ShadowRow(vector, STORED, now_s)
        elif not any(_is_same(each.vector, vector) for each in (newest, *self._waiting)):
            # Due with the newest one: the engine gives each time once.
            self._wait(ShadowRow(vector, STORED, newest.came_s))

    def look(self, now_s: float) -> ShadowLook:
        """Compare the rows that are due.

        Where a store or the data fails, that is why the rows that are due then were not compared; the next look begins
        anew.
        """
        self._take_in()
        found = ShadowLook(self.symbol, not_compared=self._missed)
        self._missed = Counter()
        due: list[ShadowRow] = []
        try:
            if self._engine is None and self._waiting and self._is_settled(self._waiting[0], now_s):
                self._begin(self._waiting[0].vector.row_ns)
            self._follow()
            due = self._take_due(now_s)
            self._compare([row for row in due if self._fits(row.vector, found)], found, now_s)
        except FeatureServiceError as error:
            self._engine = self._tape = self._last = None
            due = due or self._take_due(now_s)
            found.not_compared[str(error)] += max(1, len(due))
        return found

    def _take_in(self) -> None:
        """Let what came since wait; rows come in another thread than the looks'."""
        while self._came:
            row = self._newest = self._came.popleft()
            self._wait(row)
            self._settle_stored(row)
        while self._missed_rows:
            count, reason = self._missed_rows.popleft()
            self._missed[reason] += count

    def _settle_stored(self, published: ShadowRow) -> None:
        """Compare what was found stored with the row that was published at its time, once that or a later one came."""
        stored = self._stored
        if stored is None or row_order(published.vector) < row_order(stored.vector):
            return
        self._stored = None
        if not _is_same(published.vector, stored.vector):
            self._wait(stored)

    def _wait(self, row: ShadowRow) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._missed[f"more than {MOST_WAITING} rows waited"] += 1
        self._waiting.append(row)

    def _is_settled(self, row: ShadowRow, now_s: float) -> bool:
        return now_s - row.came_s >= self._source.settle_s

    def _take_due(self, now_s: float) -> list[ShadowRow]:
        """Those whose messages are on the tape that was read. Rows come in order: the first that is not ends it."""
        due: list[ShadowRow] = []
        while self._waiting:
            row = self._waiting[0]
            is_shown = self._is_settled(row, now_s) and self._shown_ns > row.vector.available_ns
            if not is_shown and now_s - row.came_s < FINAL_S:
                break
            due.append(self._waiting.popleft())
        return due

    def _begin(self, row_ns: int) -> None:
        """An engine that has all that is known by now, and is just before a row that a worker has closed."""
        kernel, grid_ns = self._source.kernel, self._source.grid_ns
        with self._source.open_raw(self.symbol) as raw:
            _, last_ns = raw.period(self.symbol)
            seq = max((part.last_seq for part in raw.parts(self.symbol)), default=FIRST_SEQ - 1)
            engine, events = begin_engine(raw, self.symbol, kernel, row_ns, last_ns + 1, grid_ns=grid_ns)
            for records, least_ns in events:
                engine.feed(records)
                engine.rows_at(_NO_TIMES, min(least_ns, row_ns - grid_ns))
        self._shown_ns = last_ns
        self._engine = engine
        self._decoders = self._source.decoders(self.symbol)
        self._tape = TapeFollower(self._source.raw_folder, self.symbol, seq=max(seq + 1, FIRST_SEQ))

    def _follow(self) -> None:
        """Feed the engine, once it has begun, what was appended to the tape."""
        if self._engine is None or self._tape is None or self._decoders is None:
            return
        pieces = []
        for each in self._tape.read():
            pieces.append(tape_records(self._decoders, self.symbol, each))
            self._shown_ns = max(self._shown_ns, each.recv_ns)
        records = joined(pieces)
        if len(records := records[records["kind"] < KIND_COUNT]):
            self._engine.feed(records)

    def _compare(self, rows: Sequence[ShadowRow], found: ShadowLook, now_s: float) -> None:
        if not rows:
            return
        compared, parity = self._parity(rows)
        if parity is not None and parity.mismatched and now_s - self._confirmed_s >= CONFIRM_EVERY_S:
            parity = self._confirmed(compared, parity)
            if parity.mismatched:
                self._confirmed_s = now_s
        if len(compared) < len(rows):
            found.not_compared[OLDER] += len(rows) - len(compared)
        if parity is None:
            return
        found.compared, found.mismatched = parity.compared, parity.mismatched
        found.quarantined, found.mismatches = parity.quarantined, parity.mismatches
        found.last_row_ns = max(row.vector.row_ns for row in compared)

    def _confirmed(self, rows: Sequence[ShadowRow], before: ShadowParity) -> ShadowParity:
        """The differences that remain in an engine that starts again at the first of them."""
        first_ns = min(each.row_ns for each in before.mismatches)
        _log.warning("%s: differs from the tape, recomputing: %s", self.symbol, before.mismatches[0])
        self._begin(first_ns)
        self._follow()
        self._last = None
        _, again = self._parity([row for row in rows if row.vector.row_ns >= first_ns])
        assert again is not None, "the first of them is computed"
        return replace(again, compared=before.compared, quarantined=before.quarantined)

    def _parity(self, rows: Sequence[ShadowRow]) -> tuple[list[ShadowRow], ShadowParity | None]:
        """The rows that can be computed, later ones than those before or the last of these, and what they showed."""
        engine, last = self._engine, self._last
        assert engine is not None, "it began before a row was due"
        after_ns = engine.closed_ns or 0
        times = sorted({row.vector.row_ns for row in rows if row.vector.row_ns > after_ns})
        pieces = [] if last is None else [last]
        if times:
            pieces.append(engine.rows_at(np.array(times, np.int64), times[-1]))
        if not pieces:
            return [], None
        computed = joined_rows(pieces, reasons=True)
        # Indexed, which copies: a view would keep all of them.
        self._last = computed.only(np.array([len(computed) - 1]))
        known = set(computed.row_ns.tolist())
        compared = [row for row in rows if row.vector.row_ns in known]
        return compared, compare_served(self._blocks.of(compared), computed) if compared else None

    def _fits(self, vector: OnlineVector, found: ShadowLook) -> bool:
        """Whether the row is of our feature set and grid."""
        feature_set = self._source.kernel.feature_set
        if vector.fingerprint != feature_set.fingerprint or vector.columns != feature_set.columns:
            reason = f"the row is of registry {vector.version}, not of {feature_set.version}"
        elif vector.row_ns % self._source.grid_ns:
            reason = f"the row is at no multiple of {self._source.grid_ns} ns"
        else:
            return True
        found.not_compared[reason] += 1
        return False


def _is_same(left: OnlineVector, right: OnlineVector) -> bool:
    return row_order(left) == row_order(right) and same_row(left, right)
