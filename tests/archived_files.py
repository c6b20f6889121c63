"""Files of an archive: small ones of any symbol and day."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

from backfill.bybit.rest import BybitHistory
from backfill.fetching import Place
from market.clock import ManualClock, parse_iso_ns
from storage.instruments import InstrumentPins
from storage.raw.manifest import entry_path
from storage.raw.raw_data import RawData
from training_sets.engines.engine import Engine


def write_book(folder: Path, symbol: str, day: str) -> None:
    """A snapshot and 19 deltas, a tenth of a second apart, from the day's begin."""
    folder.mkdir(parents=True, exist_ok=True)
    begin_s = parse_iso_ns(day) // 10**9
    lines = [
        json.dumps(
            {
                "topic": f"orderbook.500.{symbol}",
                "type": "delta" if at else "snapshot",
                "ts": begin_s * 1000 + 100 * at,
                "data": {"s": symbol, "b": [["0.1", f"{at + 1}"]], "a": [["0.3", "1"]], "u": 5 + at, "seq": at},
            }
        )
        for at in range(20)
    ]
    with zipfile.ZipFile(folder / f"{day}_{symbol}_ob500.data.zip", "w") as archive:
        archive.writestr(f"{day}_{symbol}_ob500.data", "\n".join(lines))


def write_trades(folder: Path, symbol: str, day: str) -> None:
    """20 trades, a second apart, from the day's begin."""
    folder.mkdir(parents=True, exist_ok=True)
    begin_s = parse_iso_ns(day) // 10**9
    lines = [f"{begin_s + at}.25,{symbol},Buy,{1 + at},0.2,id-{day}-{at}" for at in range(20)]
    text = "\n".join(["timestamp,symbol,side,size,price,trdMatchID", *lines])
    (folder / f"{symbol}{day}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def archive_place(raw: Path, archive: Path, symbol: str, *, engine: Engine | None) -> Place:
    """Where archived days come from and go to; nothing else is asked for, and the symbol's scale is pinned."""
    clock = ManualClock(parse_iso_ns("2025-07-01"))
    pins = InstrumentPins(raw)
    pins.pin(symbol, "0.2")
    return Place(raw, pins, BybitHistory("http://localhost:1", clock), str(archive), str(archive), clock, engine=engine)


def files_of(place: Place, symbol: str) -> dict[str, bytes]:
    """Files of raw Parquet and of its manifest by their paths."""
    parts = RawData(place.raw_folder).parts(symbol)
    paths = [place.raw_folder / file.path for part in parts for file in part.files]
    paths += [Path(str(entry_path(place.raw_folder, symbol, part.name))) for part in parts]
    return {str(path.relative_to(place.raw_folder)): path.read_bytes() for path in paths}


def unnamed_files(place: Place, symbol: str) -> set[Path]:
    """Files of raw Parquet that the symbol's manifest does not name."""
    named = {place.raw_folder / file.path for part in place.raw.parts(symbol) for file in part.files}
    return {*place.raw_folder.rglob("*.parquet")} - named
