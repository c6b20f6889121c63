"""An exchange that misbehaves: each way ends as the table of docs/backfill.md states, and a day is never half there."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest

from backfill.bybit.client import BANNED_S
from backfill.bybit.client import MOST_ATTEMPTS as REST_ATTEMPTS
from backfill.bybit.rest import BybitHistory
from backfill.days import backfill_day
from backfill.fetching import Place, SymbolDay
from market.clock import MILLISECOND_NS, ManualClock, parse_iso_ns
from market.errors import FeatureServiceError
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.bybit_rest import MINUTE_MS, BybitHistoryServer, Failure, History, Row

SYMBOL: Final = "DOGEUSDT"
KLINES: Final = SymbolDay(SYMBOL, "klines", "2025-05-31")
TRADES: Final = replace(KLINES, data_type="trades")
BOOK: Final = replace(KLINES, data_type="orderbook")
ROWS: Final[list[Row]] = [
    (str(KLINES.start_ms + minute * MINUTE_MS), "0.2", "0.3", "0.1", "0.2", "10", "2") for minute in range(1440)
]
LATE: Final = 1 << 42
PAGE: Final = Path(__file__).parents[3] / "docs" / "backfill.md"


def told(rows: list[Row]) -> Failure:
    """A page of these rows."""
    document = {"retCode": 0, "retMsg": "OK", "result": {"list": rows}, "time": LATE}
    return Failure(200, json.dumps(document).encode())


def trades_file(*, broken: bool = False) -> bytes:
    header = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    lines = [f"{KLINES.start_ms // 1000 + at}.5,{SYMBOL},Buy,1,0.2,x,id-{at},1,1,1" for at in range(50)]
    content = bytearray(gzip.compress("\n".join([header, *lines]).encode()))
    if broken:
        content[-8] ^= 1  # the first byte of the checksum
    return bytes(content)


def book_file(folder: Path) -> bytes:
    topic = f"orderbook.500.{SYMBOL}"
    data = {"s": SYMBOL, "b": [["0.1", "1"]], "a": [["0.2", "1"]], "u": 5, "seq": 9}
    path = folder / "book.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "book.data", json.dumps({"topic": topic, "type": "snapshot", "ts": KLINES.start_ms, "data": data})
        )
    content = bytearray(path.read_bytes())
    content[content.index(b'"0.1"') + 1] = ord("7")
    return bytes(content)


@dataclass(frozen=True)
class Case:
    """answers: the first ones. ends: None where the day stands as undisturbed, else what is told. waits_s: at least."""

    answers: list[Failure | None] = field(default_factory=list)
    ends: str | None = None
    waits_s: float = 0.0
    asked: SymbolDay = KLINES
    history: Callable[[History], History] = lambda known: known
    lacking_minutes: int = 0
    file: Callable[[Path], bytes] = lambda _folder: trades_file()


LIMITED: Final = Failure.told(10006, "Too many visits!", X_Bapi_Limit_Reset_Timestamp=str(KLINES.start_ms + 3000))
USED_UP: Final = {"X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": "9999999999999"}
CASES: Final = {
    "10006": Case([LIMITED], waits_s=0.5),
    "limit used up": Case([replace(told(ROWS[440:][::-1]), headers=USED_UP)], waits_s=60.0),
    "429": Case([Failure(429, b"slow down")], waits_s=0.5),
    "403": Case([Failure(403, b"banned")], waits_s=BANNED_S),
    "5xx": Case([Failure(502, b"bad gateway"), Failure(503, b"")], waits_s=1.0),
    "5xx for good": Case([Failure(500, b"on fire")] * REST_ATTEMPTS, ends="must succeed, was 500 on fire"),
    "answer cut": Case([Failure(200, b'{"retCode": 0, "resu', is_cut=True)], waits_s=0.5),
    "no JSON": Case([Failure(200, b"<html>a proxy</html>")], waits_s=0.5),
    "other JSON": Case([Failure(200, b'{"retCode": 0, "time": 9, "result": {"rows": []}}')], ends="as documented"),
    "page out of order": Case([told([*ROWS[900:], *ROWS[440:900]])]),
    "page twice": Case([None, told(ROWS[440:][::-1])], ends="rows must be of"),
    "row twice": Case([told([*ROWS[440:], ROWS[500]])]),
    "row twice, otherwise": Case([told([ROWS[500], (*ROWS[500][:6], "3")])], ends="once"),
    "page too short": Case([told(ROWS[1400:][::-1])]),
    "impossible candle": Case([told([(ROWS[-1][0], "1", "2", "3", "4", "5", "6")])], ends="low"),
    "hole": Case(history=lambda known: replace(known, klines=ROWS[:300] + ROWS[360:]), lacking_minutes=60),
    "listed within": Case(history=lambda known: replace(known, klines=ROWS[720:]), lacking_minutes=720),
    "nothing": Case(history=lambda known: replace(known, klines=[]), lacking_minutes=1440),
    "unknown symbol": Case([Failure.told(10001, "params error: symbol invalid")], ends="symbol invalid"),
    "archive 5xx": Case([Failure(503, b""), Failure(500, b"")], waits_s=1.0, asked=TRADES),
    "archive cut": Case([Failure(200, trades_file()[:40], is_cut=True)], waits_s=0.5, asked=TRADES),
    "archive checksum": Case(file=lambda _: trades_file(broken=True), ends="CRC check failed", asked=TRADES),
    "archive checksum, zip": Case(file=book_file, ends="Bad CRC-32", asked=BOOK),
    "archive without the day": Case([Failure(404)] * 4, ends="must hold", asked=TRADES),
}


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BybitHistoryServer]:
    case: Case = request.getfixturevalue("case")
    archive = tmp_path / "archive" / SYMBOL
    archive.mkdir(parents=True)
    name = f"{SYMBOL}2025-05-31.csv.gz" if case.asked == TRADES else f"2025-05-31_{SYMBOL}_ob500.data.zip"
    (archive / name).write_bytes(case.file(tmp_path))
    known = case.history(History(klines=ROWS))
    with BybitHistoryServer({SYMBOL: known}, archive=tmp_path / "archive") as running:
        yield running


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_every_misbehaviour_ends_as_stated(
    case: Case, server: BybitHistoryServer, slept: list[float], tmp_path: Path
) -> None:
    clock, raw, archive = ManualClock(parse_iso_ns("2025-07-01")), tmp_path / "raw", f"{server.url}/archive"
    rest = BybitHistory(server.url, clock, delay_ms=0, sleep=slept.append, jitter=lambda: 0.5)
    place = Place(raw, InstrumentPins(raw), rest, archive, archive, clock)
    server.failures += case.answers
    if case.ends is not None:
        with pytest.raises(FeatureServiceError, match=re.escape(case.ends)):
            backfill_day(place, case.asked)
        assert RawData(raw).symbols() == []
        assert list(raw.rglob("*.parquet")) == []
    else:
        done = backfill_day(place, case.asked)
        whole = 1440 if case.asked == KLINES else 51
        assert done.messages == whole - case.lacking_minutes
        lacking_ns = sum(end - start for start, end in done.lacking)
        assert lacking_ns == case.lacking_minutes * MINUTE_MS * MILLISECOND_NS
    assert sum(slept) >= case.waits_s
    assert server.failures == [], "every answer was met"
    rest.close()


def test_the_page_states_every_case() -> None:
    stated = re.findall(
        r"^\| `([^`]+)` \|", PAGE.read_text().partition("## An exchange that misbehaves")[2], re.MULTILINE
    )
    assert stated == list(CASES)
