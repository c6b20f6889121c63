"""A backfill killed anywhere and gone on with leaves the bytes of one that was not."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from market.clock import DAY_NS, MILLISECOND_NS, parse_iso_ns
from storage.database.migration import upgrade
from tests.archived_files import write_book
from tests.bybit_rest import MINUTE_MS, BybitHistoryServer, History
from tests.killed_backfills import SYMBOL
from tests.postgres_servers import new_database, running_postgres

ROOT: Final = Path(__file__).parents[2]
DAYS: Final = ("2025-05-31", "2025-06-01")
MINUTES: Final = 30
HEADER: Final = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"


def written_archive(folder: Path) -> None:
    """A few trades and a few order book messages of each day."""
    folder.mkdir()
    for day in DAYS:
        begin_s = parse_iso_ns(day) // 10**9
        trades = [f"{begin_s + at}.5,{SYMBOL},Buy,1,0.2,x,{day}-{at},1,1,1" for at in range(40)]
        (folder / f"{SYMBOL}{day}.csv.gz").write_bytes(gzip.compress("\n".join([HEADER, *trades]).encode()))
        write_book(folder, SYMBOL, day)


def known() -> History:
    """Half an hour of each day."""
    first_ms = parse_iso_ns(DAYS[0]) // MILLISECOND_NS
    times = [
        first_ms + day * DAY_NS // MILLISECOND_NS + at * MINUTE_MS for day in range(len(DAYS)) for at in range(MINUTES)
    ]
    klines = [(str(at), "0.2", "0.3", "0.1", "0.2", "10", "2") for at in times]
    marks = [row[:5] for row in klines]
    interest = [(str(at), "5.5") for at in times[::5]]
    fundings = [(str(at), "0.0001") for at in times[::MINUTES]]
    return History(klines=klines, marks=marks, indices=marks, fundings=fundings, interest=interest)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """Database, exchange and archive."""
    archive = tmp_path / "archive"
    written_archive(archive)
    with (
        running_postgres("embedded") as server,
        new_database(server) as url,
        BybitHistoryServer({SYMBOL: known()}) as exchange,
    ):
        upgrade(url)
        yield url, exchange.url, str(archive)


def assert_killed_ones_end_the_same(place: tuple[str, str, str], folder: Path, *, seed: int, count: int) -> None:
    """So many are killed, and none leaves anything different; see ``tests.killed_backfills``."""
    command = [sys.executable, "-m", "tests.killed_backfills", *place, str(folder), str(seed), str(count)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=3600)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found["calls"] > 1000
    assert found["files"] > 10
    assert sum(point["was_killed"] for point in found["points"]) == count
    assert [point for point in found["points"] if point["different"]] == []
    ended_by_itself = [point["at"] for point in found["points"] if not point["was_killed"]]
    # Threads vary the number of calls by a few.
    assert all(at > 0.9 * found["calls"] for at in ended_by_itself), ended_by_itself


def test_a_backfill_killed_at_a_few_points_ends_with_the_same_bytes(
    place: tuple[str, str, str], tmp_path: Path
) -> None:
    assert_killed_ones_end_the_same(place, tmp_path / "raw", seed=16, count=2)


@pytest.mark.soak
def test_a_backfill_killed_at_a_hundred_points_ends_with_the_same_bytes(
    place: tuple[str, str, str], tmp_path: Path
) -> None:
    assert_killed_ones_end_the_same(place, tmp_path / "raw", seed=2026, count=100)
