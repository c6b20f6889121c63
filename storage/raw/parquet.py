"""Raw Parquet: the decoded events of each symbol by type and UTC date of ``recv_ns``.

Layout: ``<raw>/<table>/date=YYYY-MM-DD/symbol=S/part-<part>-<hash>.parquet``, one row an EVENT record, its kind told by
the table. raw_funding repeats what tickers say of funding, for readers of funding alone, and has what the gateway's
own channel says of it; readers of events pass over it. The hash is of the file, so that a rebuilt part never stands
in the way of readers of the old one. Columns are encoded as measured on level rows.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, cast

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, utc_date
from market.errors import CorruptStore, InvalidRequest
from market.events import (
    FUNDING_RATE,
    NEXT_FUNDING,
    Events,
)
from market.instruments import Instrument
from market.markets import DEFAULT_MARKET, Market
from storage.durable_files import publish_files, remove_files, remove_staged
from storage.instruments import checked_symbol
from storage.places import Place, SamePlace
from storage.raw.file import PartFile
from storage.raw.manifest import Backfill, RawPart, TapeSource, check_market, entry_path, read_entry, write_entry
from storage.raw.tables import FUNDING_INDEX, TABLE_NAMES, TICKER_INDEX, table_index


def write_events(
    root: SamePlace, instrument: Instrument, events: Events, *, part: str, decoder_version: int = 1
) -> list[SamePlace]:
    """Write events of one symbol in tape order, any mix of kinds and dates; the files written, sorted.

    A part of the same name is replaced. The same events give the same bytes. No events are no part.

    Raises:
        InvalidRequest: ``seq`` falls, a kind is unknown, or the records of one message differ in ``recv_ns``, in kind
            or in being a snapshot: their order could not be told from the files. A delta's records are not marked.
        CorruptStore: what was written was read back otherwise.
        StoreUnavailable: the disk refused.
    """
    with PartWriter(root, instrument, part=part, decoder_version=decoder_version) as writer:
        writer.append(events)
        return cast("list[SamePlace]", writer.commit())


class PartWriter:
    """Writes one part from events that come in tape order, whole messages at a time, in memory of some row groups.

    Nothing is seen of the part before ``commit``; leaving the block without it discards what was written. What a killed
    process left of the same part is removed: who writes a part holds a lock of it. Other parts' files stay as they are.
    market: of the messages. provenance: written into each file, where it is not what arrived live.

    Raises Conflict where raw Parquet of the symbol is of another market.
    """

    def __init__(
        self,
        root: Place,
        instrument: Instrument,
        *,
        part: str,
        decoder_version: int,
        provenance: str | None = None,
        market: Market = DEFAULT_MARKET,
    ) -> None:
        check_market(root, instrument.symbol, market)
        self._root = root
        self._market = market
        self._instrument = instrument
        self._part = part
        self._decoder_version = decoder_version
        self._provenance = {} if provenance is None else {"provenance": provenance}
        self._symbol = checked_symbol(instrument.symbol)
        self._files: dict[tuple[int, int], PartFile] = {}
        self._seqs: tuple[int, int] | None = None
        self._period = (0, 0)

    def append(self, events: Events) -> None:
        """Take events; raises InvalidRequest as ``write_events`` does, StoreUnavailable."""
        if len(events) == 0:
            return
        tables, period = table_index(self._symbol, events)
        seqs = int(events["seq"][0]), int(events["seq"][-1])
        first_day, last_day = (at_ns // DAY_NS for at_ns in period)
        if first_day == last_day and (tables == tables[0]).all() and tables[0] != FUNDING_INDEX:
            self._file(int(tables[0]), first_day).append(events)
        else:
            for index in np.unique(tables[tables != FUNDING_INDEX]).tolist():
                self._append_days(index, events, tables == index)
        is_ticker, is_funding = tables == TICKER_INDEX, tables == FUNDING_INDEX
        if (is_ticker | is_funding).any():
            states_funding = is_ticker & np.isin(events["field"], (FUNDING_RATE, NEXT_FUNDING))
            self._append_days(FUNDING_INDEX, events, states_funding | is_funding)
        if self._seqs is not None:
            if seqs[0] <= self._seqs[1]:
                raise InvalidRequest(f"{self._symbol} events: seq must not fall, was {seqs[0]} after {self._seqs[1]}")
            seqs = self._seqs[0], seqs[1]
            period = min(self._period[0], period[0]), max(self._period[1], period[1])
        self._seqs, self._period = seqs, period

    def _append_days(self, index: int, events: Events, of_table: npt.NDArray[np.bool_]) -> None:
        day = events["recv_ns"] // DAY_NS
        for date in np.unique(day[of_table]).tolist():
            self._file(index, date).append(events.take(np.flatnonzero(of_table & (day == date))))

    def commit(
        self,
        source: TapeSource | None = None,
        *,
        seqs: tuple[int, int] | None = None,
        backfill: Backfill | None = None,
    ) -> list[Place]:
        """Make the part known once its files are on the disk, read back and compared; the files, sorted.

        Takes and raises what ``finish`` does.
        """
        part = self.finish(source, seqs=seqs, backfill=backfill)
        if part is None:
            return []
        name_part(self._root, part)
        return sorted(self._root / file.path for file in part.files)

    def finish(
        self,
        source: TapeSource | None = None,
        *,
        seqs: tuple[int, int] | None = None,
        backfill: Backfill | None = None,
    ) -> RawPart | None:
        """Put the part's files in their places, read back and compared, for ``name_part``; None without events.

        source: the segment it was made of. seqs: first and last seq of its messages; None are those of its events.
        backfill: where it comes from, if it did not arrive live.

        Raises CorruptStore when a file does not hold what was written to it, StoreUnavailable.
        """
        if self._seqs is None:
            return None
        staged: dict[Place, Path] = {}
        stated = []
        for (index, _), file in sorted(self._files.items()):
            path, finished = file.finish(self._root, TABLE_NAMES[index])
            staged[self._root / finished.path] = path
            stated.append(finished)
        publish_files(staged)
        first_seq, last_seq = seqs or self._seqs
        return RawPart(
            symbol=self._symbol,
            name=self._part,
            price_exponent=self._instrument.price_exponent,
            quantity_exponent=self._instrument.quantity_exponent,
            decoder_version=self._decoder_version,
            first_seq=first_seq,
            last_seq=last_seq,
            first_ns=self._period[0],
            last_ns=self._period[1],
            files=tuple(stated),
            source=source,
            backfill=backfill,
            market=str(self._market),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            file.discard()

    def _file(self, index: int, date: int) -> PartFile:
        file = self._files.get((index, date))
        if file is None:
            folder = self._root / TABLE_NAMES[index] / f"date={utc_date(date * DAY_NS)}" / f"symbol={self._symbol}"
            metadata = {
                "symbol": self._symbol,
                "price_exponent": str(self._instrument.price_exponent),
                "quantity_exponent": str(self._instrument.quantity_exponent),
                "decoder_version": str(self._decoder_version),
                **self._provenance,
            }
            path = folder / f"part-{self._part}.parquet"
            remove_staged(path)
            file = self._files[index, date] = PartFile(path, metadata)
        return file


def name_part(root: Place, part: RawPart) -> None:
    """Make a part known whose files are in their places, and remove those of the part that it replaces.

    Raises StoreUnavailable.
    """
    remove_staged(entry_path(root, part.symbol, part.name))
    before = _files_named(root, part)
    write_entry(root, part)
    remove_files(before - _files_of(root, part))


def discard_part(root: Place, part: RawPart) -> None:
    """Remove the files of a part that was never named. Raises StoreUnavailable."""
    remove_files(_files_of(root, part) - _files_named(root, part))


def _files_of(root: Place, part: RawPart) -> set[Place]:
    return {root / file.path for file in part.files}


def _files_named(root: Place, part: RawPart) -> set[Place]:
    """The files that the manifest names for the part; a damaged entry names none."""
    try:
        return _files_of(root, read_entry(entry_path(root, part.symbol, part.name), part.symbol))
    except (FileNotFoundError, CorruptStore):
        return set()
