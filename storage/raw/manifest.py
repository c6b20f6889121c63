"""The manifest of raw Parquet: one entry a part, saying what the part holds and what it was made of.

Layout: ``<raw>/manifest/symbol=S/<part>.json``. An entry is written last, in one rename, after the files it names are
on the disk: a part exists when it has an entry. Readers list no folder of Parquet, they believe the manifest alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, cast

import msgspec

from market.errors import Conflict, CorruptStore, ScaleExceeded
from market.instruments import Instrument
from market.markets import DEFAULT_MARKET, Market
from storage.durable_files import replace_file
from storage.instruments import checked_symbol
from storage.places import Place, SamePlace, matching

_SUFFIX: Final = ".json"


class RawFile(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file; ``path`` is relative to the raw folder, ``size`` in bytes."""

    table: str
    path: str
    records: int
    size: int
    sha256: str


class TapeSource(msgspec.Struct, frozen=True, kw_only=True):
    """The segment that a part was made of; ``path`` is relative to the raw folder, ``size`` in bytes."""

    path: str
    size: int
    sha256: str
    messages: int
    holes: tuple[str, ...] = ()
    """What could not be read, each by seq and reason."""


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """Where a part that never arrived live comes from; ranges are [start, end) of event time, ns.

    held: what live data has of the day, which was left alone. lacking: what neither it nor the source has. made: which
    of the filled candles are made of archived trades, since the exchange has none. is_whole: whether the day was over
    when it was fetched, and its own source had it. is_substitute: whether it is the exchange's current data,
    for want of a file of the day.
    """

    data_type: str
    source: str
    filled: tuple[tuple[int, int], ...]
    held: tuple[tuple[int, int], ...] = ()
    lacking: tuple[tuple[int, int], ...] = ()
    made: tuple[tuple[int, int], ...] = ()
    is_whole: bool = True
    is_substitute: bool = False


class RawPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part: consecutive messages of a symbol, at most one file a table and date. ``last_ns`` is inclusive.

    decoder_version: of the newest decoder that read messages of its days. backfill: None of what arrived live. market:
    of its messages, as text; DEFAULT_MARKET where an entry is older than that.
    """

    symbol: str
    name: str
    price_exponent: int
    quantity_exponent: int
    decoder_version: int
    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int
    files: tuple[RawFile, ...]
    source: TapeSource | None = None
    backfill: Backfill | None = None
    market: str = str(DEFAULT_MARKET)


class _Entry(msgspec.Struct, frozen=True):
    sha256: str
    part: msgspec.Raw


_ENTRY: Final = msgspec.json.Decoder(_Entry)
_PART: Final = msgspec.json.Decoder(RawPart)


def write_entry(root: Place, part: RawPart) -> Place:
    """Publish the part, or publish it again; on disk before this returns. Raises StoreUnavailable."""
    text = msgspec.json.encode(part)
    entry = _Entry(hashlib.sha256(text).hexdigest(), msgspec.Raw(text))
    path = entry_path(root, part.symbol, part.name)
    replace_file(path, lambda file: file.write(msgspec.json.encode(entry) + b"\n"))
    return path


def read_entry(path: Place, symbol: str) -> RawPart:
    """One entry. Raises CorruptStore when it is not what was written; FileNotFoundError."""
    try:
        entry = _ENTRY.decode(path.read_bytes())
        part = _PART.decode(entry.part)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptStore(f"{path}: must be an entry of the manifest, was {error}") from error
    if hashlib.sha256(entry.part).hexdigest() != entry.sha256:
        raise CorruptStore(f"{path}: must have the checksum of its part, was {entry.sha256!r}")
    if (part.symbol, part.name) != (symbol, path.name.removesuffix(_SUFFIX)):
        raise CorruptStore(f"{path}: must be the entry of its name, was that of {part.symbol} {part.name}")
    return part


def known_last_seqs(root: Place, symbol: str) -> list[int]:
    """The last seq of every live part whose entry can be read, sorted: damage is found by the reader.

    Raises InvalidRequest as ``entry_paths``.
    """
    return sorted(part.last_seq for part in _readable(root, symbol) if part.backfill is None)


def stated_scale(root: Place, symbol: str) -> Instrument | None:
    """The scale that the newest part states whose entry can be read; None without one."""
    for part in _readable(root, symbol):
        with suppress(CorruptStore):
            return common_scale([part])
    return None


def check_market(root: Place, symbol: str, market: Market) -> None:
    """Raises Conflict where raw Parquet of a symbol is of another market: under one name they would add up to one."""
    newest = next(_readable(root, symbol), None)
    if newest is not None and newest.market != str(market):
        raise Conflict(f"raw Parquet of {symbol}: must be of one market, {newest.market}, was asked for {market}")


def common_scale(parts: list[RawPart]) -> Instrument:
    """The scale of all parts, one at least. Raises CorruptStore when two disagree."""
    first = parts[0]
    for part in parts:
        if (part.price_exponent, part.quantity_exponent) != (first.price_exponent, first.quantity_exponent):
            raise CorruptStore(
                f"raw Parquet of {first.symbol}, part {part.name}: scale must be that of part {first.name}, "
                f"{first.price_exponent} and {first.quantity_exponent}, "
                f"was {part.price_exponent} and {part.quantity_exponent}"
            )
    try:
        return Instrument(first.symbol, first.price_exponent, first.quantity_exponent)
    except ScaleExceeded as error:
        raise CorruptStore(f"raw Parquet of {first.symbol}, part {first.name}: {error}") from error


def entry_path(root: SamePlace, symbol: str, name: str) -> SamePlace:
    """The path of a part's entry. Raises InvalidRequest when the symbol cannot name a folder."""
    return cast("SamePlace", root / "manifest" / f"symbol={checked_symbol(symbol)}" / f"{name}{_SUFFIX}")


def entry_paths(root: Place, symbol: str | None) -> list[Place]:
    """The entries of a symbol, or of all of them; InvalidRequest when the symbol cannot name a folder."""
    named = "*" if symbol is None else f"symbol={checked_symbol(symbol)}"
    return matching(root / "manifest", f"{named}/*{_SUFFIX}")


def _readable(root: Place, symbol: str) -> Iterator[RawPart]:
    """The parts whose entry can be read, by name from the last: damage is found by the reader."""
    for path in sorted(entry_paths(root, symbol), reverse=True):
        with suppress(CorruptStore, FileNotFoundError):
            yield read_entry(path, symbol)
