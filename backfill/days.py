"""A day of history: fetched, decoded as if it had arrived, stored next to live data, read back.

1. A complete day is left alone; no other process works on the same symbol and day meanwhile.
2. What live data holds is left out, the rest becomes one part of raw Parquet, named after data type and day: fetched
   again it is replaced, and the same answers give the same bytes.
3. The part is read back through the manifest: as many messages, in order, each of its kind. One that is not so is
   removed, and the day has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from backfill.bybit.messages import AVAILABILITY_NS, kline_messages
from backfill.fetching import Destination, Fetched, Place, SymbolDay, fetched
from backfill.held import KIND, Held, Range, held_of, joined
from backfill.records import records_of
from ingestion.tape.whole import whole_raw
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import Decoders
from market.clock import DAY_NS, MINUTE_NS, floor_to, format_iso
from market.errors import CorruptStore, NotFound
from market.events import CONFIRMED, CONTROL, KLINE
from storage.file_locks import exclusive
from storage.places import Place as StoragePlace
from storage.raw.events import stream_heads
from storage.raw.manifest import Backfill, RawPart, entry_path, read_entry
from storage.raw.parquet import PartWriter, name_part
from storage.raw.raw_data import RawData
from storage.retention.raw import delete_parts

PROVENANCE: Final = "backfill"
_HEAD_FIELDS: Final = ("seq", "recv_ns", "update_id", "flags")
"""What is read back of the first record of each message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayDone:
    """What became of a day; ranges are [start, end) of event time, ns.

    is_stored: whether it was stored now. made, is_substitute: as in the manifest. compared: as of ``Fetched``.
    """

    is_stored: bool
    messages: int = 0
    filled: tuple[Range, ...] = ()
    held: tuple[Range, ...] = ()
    lacking: tuple[Range, ...] = ()
    made: tuple[Range, ...] = ()
    is_substitute: bool = False
    compared: Mapping[str, Any] | None = None


def backfill_day(
    place: Place,
    asked: SymbolDay,
    *,
    takes_substitute: bool = True,
    on_piece: Callable[[], None] = lambda: None,
) -> DayDone:
    """Make a day stand in raw Parquet, as far as the exchange has it and live data has not.

    takes_substitute: as ``fetched``. on_piece: called now and then; may raise to give up, which leaves the day as it
    was.

    Raises StoreUnavailable, NotFound when the archive has no such day, UnreadableRecording, RejectedMessage,
    InvalidRequest, CorruptStore.
    """
    with exclusive(lock_of(place.raw, asked)):
        known = standing(place.raw.place, asked)
        if known is not None and known.is_whole:
            return done_of(known, is_stored=False)
        with whole_raw(place.raw, asked.symbol, place.instruments) as raw:
            held = held_of(raw, asked.symbol, asked.data_type, asked.day_ns)
        if held.ranges == ((asked.day_ns, asked.day_ns + DAY_NS),):
            return DayDone(is_stored=False, held=held.ranges)
        if asked.data_type == "funding":
            _pin(place, asked)
        with fetched(
            place,
            asked,
            is_beginning=is_beginning(place.raw.place, asked),
            takes_substitute=takes_substitute,
            held_minutes=held.minutes,
        ) as found:
            return store_day(place.destination, asked, held, found, on_piece=on_piece)


def lock_of(raw: RawData, asked: SymbolDay) -> StoragePlace:
    """What whoever works on a symbol and day holds."""
    return raw.place / ".backfilling" / f"{asked.symbol}-{asked.day}"


def standing(raw: StoragePlace, asked: SymbolDay) -> Backfill | None:
    """What the manifest says of a day that was backfilled and whose files are there, None without one.

    A damaged entry counts as none: whoever reads the symbol's parts refuses it, by name.
    """
    try:
        part = read_entry(entry_path(raw, asked.symbol, asked.part), asked.symbol)
    except (FileNotFoundError, CorruptStore):
        return None
    for file in part.files:
        path = raw / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            return None
    return part.backfill


def is_beginning(raw: StoragePlace, asked: SymbolDay) -> bool:
    """Whether history begins with a day: the one before was not backfilled."""
    return standing(raw, asked.before) is None


def _pin(place: Place, asked: SymbolDay) -> None:
    """Let a candle pin the symbol's scale where nothing has: a settlement states no price. Raises NotFound."""
    if place.instruments.get(asked.symbol) is not None:
        return
    rows = place.rest.klines(asked.symbol, asked.start_ms, asked.end_ms)
    if not rows:
        raise NotFound(f"{asked}: must have a candle, whose price pins the scale of a new symbol, was without")
    [first, *_] = kline_messages(asked.symbol, rows[:1])
    Decoders(BYBIT, place.instruments).decode(first.body, first.recv_ns)


def store_day(
    place: Destination, asked: SymbolDay, held: Held, found: Fetched, *, on_piece: Callable[[], None]
) -> DayDone:
    """Write what is not held as a part, and read it back; the caller holds the day's lock.

    Raises as ``backfill_day``.
    """
    part, done = write_day(place, asked, held, found, on_piece=on_piece)
    if part is not None:
        name_day(place, asked, part, done)
    return done


def write_day(
    place: Destination, asked: SymbolDay, held: Held, found: Fetched, *, on_piece: Callable[[], None]
) -> tuple[RawPart | None, DayDone]:
    """Put the files of what is not held in their places; the part, for ``name_day``, and what became of the day then.

    The caller holds the day's lock. The part is None where there is nothing to store. Raises as ``backfill_day``.
    """
    day_ns, data_type = asked.day_ns, asked.data_type
    pieces = records_of(place.instruments, asked, held, found)
    now_ns = place.clock.now_ns()
    until_ns = min(day_ns + DAY_NS, floor_to(now_ns - AVAILABILITY_NS[data_type], MINUTE_NS))
    first = next(pieces, None)
    if first is None:
        return None, DayDone(is_stored=False, held=held.ranges, lacking=_lacking(asked, until_ns, held, set()))
    instrument = place.instruments.get(asked.symbol)
    assert instrument is not None, "decoding pinned a scale"
    count, minutes, span = 0, set[int](), None
    version = max(dated.version for dated in BYBIT.decoders)
    with PartWriter(
        place.raw.place,
        instrument,
        part=asked.part,
        decoder_version=version,
        provenance=PROVENANCE,
        market=place.market,
    ) as writer:
        for events in chain([first], pieces):
            on_piece()
            writer.append(events)
            count += int(events["seq"][-1] - events["seq"][0]) + 1
            is_own = events["kind"] == KIND[data_type]
            # A copy is gone through in less time than what lies apart, and a mask takes longer than a copy.
            times = np.ascontiguousarray(events["event_ns"])
            span = _widened(span, times if is_own.all() else times[is_own])
            minutes.update(events["update_id"].tolist() if data_type == "klines" else ())
        filled = joined(minutes) if data_type == "klines" else _outside(span, held.ranges)
        lacking = _lacking(asked, until_ns, held, minutes)
        if found.is_substitute:
            lacking = _outside((day_ns, until_ns), tuple(sorted((*held.ranges, *filled))))
        backfill = Backfill(
            data_type=data_type,
            source=found.source,
            filled=filled,
            held=held.ranges,
            lacking=lacking,
            is_whole=until_ns == day_ns + DAY_NS and not found.is_substitute,
            made=joined(found.made - held.minutes),
            is_substitute=found.is_substitute,
        )
        part = writer.finish(backfill=backfill)
    return part, replace(done_of(backfill, is_stored=True, messages=count), compared=found.compared)


def name_day(place: Destination, asked: SymbolDay, part: RawPart, done: DayDone) -> None:
    """Make the part of a day known, and read it back; the caller holds the day's lock. Raises CorruptStore."""
    name_part(place.raw.place, part)
    part = read_entry(entry_path(place.raw.place, asked.symbol, asked.part), asked.symbol)
    try:
        _check_read_back(place.raw, part, asked.data_type, done.messages)
    except CorruptStore:
        delete_parts(place.raw, [part], used_by=())
        raise


def done_of(known: Backfill, *, is_stored: bool, messages: int = 0) -> DayDone:
    """What the manifest says of a day."""
    return DayDone(
        is_stored=is_stored,
        messages=messages,
        filled=known.filled,
        held=known.held,
        lacking=known.lacking,
        made=known.made,
        is_substitute=known.is_substitute,
    )


def _widened(span: Range | None, times: npt.NDArray[np.int64]) -> Range | None:
    """A span with further times in it, ns."""
    if len(times) == 0:
        return span
    begin, end = int(times.min()), int(times.max()) + 1
    return (begin, end) if span is None else (min(span[0], begin), max(span[1], end))


def _lacking(asked: SymbolDay, until_ns: int, held: Held, minutes: set[int]) -> tuple[Range, ...]:
    """The minutes that neither live data nor the exchange has; of other data types silence is no hole."""
    if asked.data_type != "klines":
        return ()
    return joined({*range(asked.day_ns, until_ns, MINUTE_NS)} - held.minutes - minutes)


def _outside(span: Range | None, held: tuple[Range, ...]) -> tuple[Range, ...]:
    """What of a span lies outside of the held ranges."""
    if span is None:
        return ()
    ranges, begin = [], span[0]
    for start, end in (*held, (span[1], span[1])):
        if begin < min(start, span[1]):
            ranges.append((begin, min(start, span[1])))
        begin = max(begin, end)
    return tuple(ranges)


def _check_read_back(raw: RawData, part: RawPart, data_type: str, messages: int) -> None:
    """Raises CorruptStore unless the part, as every reader finds it, holds what was fetched.

    One record of each message tells: all were compared with what was written before the manifest named their file.
    """
    kinds = {KIND[data_type]}
    found, last_seq, last_minute = 0, part.first_seq - 1, -1
    for heads in stream_heads(
        raw, part.symbol, kinds=kinds, from_ns=part.first_ns, to_ns=part.last_ns + 1, fields=_HEAD_FIELDS
    ):
        own = heads[(heads["seq"] >= part.first_seq) & (heads["seq"] <= part.last_seq)]
        if len(own) == 0:
            continue
        seqs = own["seq"]
        steps = np.diff(seqs)
        if int(seqs[0]) <= last_seq or (steps < 0).any():
            raise CorruptStore(f"{part.symbol} {part.name}: seq must rise, was {int(seqs[0])} after {last_seq}")
        found += 1 + int(np.count_nonzero(steps))
        last_seq = int(seqs[-1])
        strange = own["kind"][~np.isin(own["kind"], [CONTROL, *kinds])]
        if len(strange):
            raise CorruptStore(f"{part.symbol} {part.name}: must be {data_type}, was kind {strange[0]}")
        if data_type == "klines":
            starts = own["update_id"][own["kind"] == KLINE]
            if int(starts[0]) <= last_minute or (np.diff(starts) < 0).any() or not (own["flags"] & CONFIRMED).all():
                raise CorruptStore(f"{part.symbol} {part.name}: must be confirmed candles in order, was not")
            last_minute = int(starts[-1])
    if found != messages or last_seq != part.last_seq:
        raise CorruptStore(f"{part.symbol} {part.name}: must be read back as {messages} messages, was {found}")


def day_document(done: DayDone) -> Mapping[str, Any]:
    """A day for a job's record: ranges as pairs of ISO times."""
    ranges = {"filled": done.filled, "held_live": done.held, "lacking": done.lacking, "made_of_trades": done.made}
    told: dict[str, Any] = {"messages": done.messages, "stored": done.is_stored, "substitute": done.is_substitute}
    told |= {} if done.compared is None else {"compared_with_trades": done.compared}
    return told | {name: [_iso(found) for found in each] for name, each in ranges.items()}


def _iso(found: Range) -> list[str]:
    return [format_iso(found[0]), format_iso(found[1])]
