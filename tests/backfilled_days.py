"""Days of history that tests fetch: a recorded symbol, archives of trades, and what was stored."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from backfill.fetching import Place, SymbolDay
from market.events import KLINE, ORDERBOOK, TICKER, TRADE, Events
from storage.raw.events import read_events
from storage.raw.raw_data import RawData

DOGE: Final = "DOGEUSDT"
DAY: Final = SymbolDay(DOGE, "klines", "2025-05-31")
BEGIN_NS: Final = DAY.day_ns
KINDS: Final = (KLINE, TICKER, TRADE, ORDERBOOK)


def stored(place: Place, symbol: str = DOGE, *, from_ns: int = 0, to_ns: int = 1 << 62) -> Events:
    return read_events(RawData(place.raw_folder), symbol, kinds=KINDS, from_ns=from_ns, to_ns=to_ns)


def archive_with(tmp_path: Path, content: bytes) -> str:
    folder = tmp_path / "files" / DOGE
    folder.mkdir(parents=True)
    (folder / f"{DOGE}2025-05-31.csv.gz").write_bytes(content)
    return str(tmp_path / "files")
