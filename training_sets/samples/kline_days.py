"""Kline days: the one-minute klines of a symbol, a record each; those of whole UTC days are kept for the next build.

A day is that on which klines came. What is kept of it is identified by the hashes of its raw files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, floor_to
from market.events import CLOSE, CONFIRMED, FIRST, HIGH, KLINE, LAST, LOW, VOLUME, Events, empty_events
from storage.raw.events import stream_events
from storage.raw.manifest import RawPart
from storage.raw.raw_data import RawData
from training_sets.last_used import LastUsed
from training_sets.rebuild.due_days import inputs_digest

WEEK_NS: Final = 7 * DAY_NS
MOST_DAYS: Final = 512
MOST_OF_DAY: Final = 2_880
"""A day of more klines is not kept: a stream states every minute many times, a minute's last kline is one of sixty."""

_NUMBERS: Final = ("recv_ns", "seq", "start_ns", "high", "low", "close", "volume")
KLINE_RECORD: Final = np.dtype([*((name, np.int64) for name in _NUMBERS), ("is_confirmed", np.bool_)])
Klines = npt.NDArray[Any]
"""A one-dimensional array of KLINE_RECORD: prices and volume as mantissas, in the order of the tape."""
_FIELDS: Final = ("seq", "recv_ns", "update_id", "px", "field", "flags")


class KnownKlines(LastUsed[tuple[str, int, str], Klines]):
    """The last MOST_DAYS days that a process has read, by symbol, day and the hash of their files."""

    def __init__(self) -> None:
        super().__init__(MOST_DAYS)

    def keep(self, key: tuple[str, int, str], klines: Klines) -> None:
        """Keep a day, unless it is a long one."""
        if len(klines) <= MOST_OF_DAY:
            super().keep(key, klines.copy())


@dataclass(frozen=True, slots=True)
class KlineHistory:
    """The klines of raw data."""

    raw: RawData
    known: KnownKlines = field(default_factory=KnownKlines)

    def stream(self, symbol: str, *, from_ns: int, to_ns: int) -> Iterator[Klines]:
        """Those that came in [from_ns, to_ns), a week at a time; each day's in tape order.

        Raises CorruptStore, InvalidRequest when the symbol cannot name a folder.
        """
        parts = self.raw.parts(symbol)
        for begin_ns in range(floor_to(from_ns, DAY_NS), to_ns, WEEK_NS):
            yield from self._week(symbol, parts, max(from_ns, begin_ns), min(to_ns, begin_ns + WEEK_NS))

    def confirmed(self, symbol: str, *, from_ns: int, to_ns: int) -> Klines:
        """The confirmed ones that came in [from_ns, to_ns), in tape order where it matters. Raises as ``stream``."""
        klines = _confirmed(self.stream(symbol, from_ns=from_ns, to_ns=to_ns))
        # Counted in order: np.unique hashes whole numbers, and takes twenty times as long for months of minutes.
        minutes = int(np.count_nonzero(np.diff(np.sort(klines["start_ns"])))) + min(len(klines), 1)
        if minutes < len(klines):
            days = np.stack([klines["start_ns"], klines["recv_ns"] // DAY_NS], axis=1)
            if minutes < len(np.unique(days, axis=0)):
                # A minute came on two days: where receive times fall, the later of them is not the tape's last.
                klines = _confirmed(_streamed(self.raw, symbol, from_ns, to_ns))
        return klines

    def _week(self, symbol: str, parts: list[RawPart], from_ns: int, to_ns: int) -> Iterator[Klines]:
        days = range(floor_to(from_ns, DAY_NS), to_ns, DAY_NS)
        whole = {day_ns for day_ns in days if from_ns <= day_ns and day_ns + DAY_NS <= to_ns}
        keys = {day_ns: self._key(symbol, parts, day_ns) for day_ns in whole}
        known = {day_ns: kept for day_ns, key in keys.items() if (kept := self.known.get(key)) is not None}
        for is_known, run in groupby(list(days), set(known).__contains__):
            of_run = list(run)
            if not is_known:
                streamed = _streamed(self.raw, symbol, max(from_ns, of_run[0]), min(to_ns, of_run[-1] + DAY_NS))
                read = _joined(streamed)
                of_day = read["recv_ns"] // DAY_NS
                known |= {day_ns: read[of_day == day_ns // DAY_NS] for day_ns in of_run}
                for day_ns in whole.intersection(of_run):
                    self.known.keep(keys[day_ns], known[day_ns])
            yield _joined(known[day_ns] for day_ns in of_run)

    def _key(self, symbol: str, parts: list[RawPart], day_ns: int) -> tuple[str, int, str]:
        return symbol, day_ns, inputs_digest(parts, frozenset({KLINE}), day_ns, day_ns + DAY_NS)


def _joined(pieces: Iterable[Klines]) -> Klines:
    return np.concatenate([np.empty(0, KLINE_RECORD), *pieces])


def _confirmed(pieces: Iterable[Klines]) -> Klines:
    return _joined(each[each["is_confirmed"]] for each in pieces)


def _streamed(raw: RawData, symbol: str, from_ns: int, to_ns: int) -> Iterator[Klines]:
    for events, _ in stream_events(raw, symbol, kinds={KLINE}, from_ns=from_ns, to_ns=to_ns, fields=_FIELDS):
        klines = events[events["kind"] == KLINE]
        # A kline is one message, whose fields stand in one order.
        closes = klines[klines["field"] == CLOSE]
        found = np.empty(len(closes), KLINE_RECORD)
        found["recv_ns"], found["seq"], found["start_ns"] = closes["recv_ns"], closes["seq"], closes["update_id"]
        found["close"], found["is_confirmed"] = closes["px"], closes["flags"] & CONFIRMED != 0
        for name, number in (("high", HIGH), ("low", LOW), ("volume", VOLUME)):
            found[name] = klines["px"][klines["field"] == number]
        yield found


def as_heads(klines: Klines) -> Events:
    """The klines as events of one record each, that of their volume: enough for what counts candles."""
    events = empty_events(len(klines))
    events["kind"], events["field"] = KLINE, VOLUME
    events["recv_ns"], events["seq"], events["update_id"] = klines["recv_ns"], klines["seq"], klines["start_ns"]
    events["px"] = klines["volume"]
    events["flags"] = FIRST | LAST
    events["flags"][klines["is_confirmed"]] |= CONFIRMED
    return events
