"""A dataset of days that nobody has: they are fetched first, and a failure names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
import pytest

from backfill.bybit.client import MOST_ATTEMPTS
from backfill.bybit.rest import BybitHistory
from backfill.fetching import Place
from backfill.missing_days import MissingDays
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, ManualClock, parse_iso_ns, utc_date
from market.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable
from market.events import KLINE
from storage.instruments import InstrumentPins
from tests.build_places import UNGATED, place_in
from tests.bybit_rest import BybitHistoryServer, Failure, History, recorded_klines
from training_sets.builds.admission import check_request
from training_sets.builds.builder import build_dataset
from training_sets.builds.missing_days import lacking_days
from training_sets.builds.place import BuildPlace
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget

SYMBOL: Final = "DOGEUSDT"
DAYS: Final = ("2025-06-01", "2025-06-02")
BEGIN_NS: Final = parse_iso_ns(DAYS[0])
NOW_NS: Final = parse_iso_ns("2025-07-01")
REQUEST: Final = DatasetRequest(
    symbols=(SYMBOL,),
    # Over midnight: two days.
    strategy=TimeBased(default_periods(BEGIN_NS + 22 * HOUR_NS, BEGIN_NS + 26 * HOUR_NS)),
    targets=(RegressionTarget(5 * MINUTE_NS),),
    registry_version="1.2.0",
    sample_interval_ns=MINUTE_NS,
    sample_offset_ns=2 * SECOND_NS,
    label_price="kline_close",
    check_leakage=False,
)


@pytest.fixture(scope="module")
def server(recorded_data: Path) -> Iterator[BybitHistoryServer]:
    rows = recorded_klines(recorded_data / "klines" / "DOGEUSDT_1m.csv.gz", last=4 * 1440)
    marks = [row[:5] for row in rows]
    first_ms = int(rows[0][0])
    fundings = [(str(first_ms + hours * HOUR_NS // MILLISECOND_NS), "0.0001") for hours in range(0, 96, 8)]
    interest = [(str(first_ms + at * 5 * MINUTE_NS // MILLISECOND_NS), "5000000.5") for at in range(4 * 288)]
    history = History(klines=rows, marks=marks, indices=marks, fundings=fundings, interest=interest)
    with BybitHistoryServer({SYMBOL: history}) as running:
        yield running


@pytest.fixture
def place(server: BybitHistoryServer, tmp_path: Path, kernel_cache: Path) -> BuildPlace:
    clock, raw = ManualClock(NOW_NS), tmp_path / "raw"

    def open_place(_sleep: object) -> Place:
        rest = BybitHistory(server.url, clock, delay_ms=0, sleep=lambda _seconds: None)
        return Place(raw, InstrumentPins(raw), rest, str(tmp_path), str(tmp_path), clock)

    filler = MissingDays(open_place, clock, most_days=40)
    return replace(place_in(tmp_path, kernel_cache, rules=UNGATED), filler=filler)


def test_days_without_data_are_fetched_first_with_those_that_the_first_rows_look_at(
    place: BuildPlace, tmp_path: Path
) -> None:
    steps: list[str] = []
    shares: list[float] = []
    check_request(REQUEST, place, now_ns=NOW_NS)
    built = build_dataset(REQUEST, place, tmp_path / "dataset", on_step=steps.append, on_progress=shares.append)
    assert steps[:2] == ["fetching the days without data", "making sure that the features exist"]
    held: dict[str, list[str]] = {}
    for part in place.raw.parquet.parts(SYMBOL):
        assert part.backfill is not None
        held.setdefault(part.backfill.data_type, []).append(part.name[-10:])
    # The longest volume ratio looks back a day and a minute.
    around = [utc_date(BEGIN_NS + days * DAY_NS) for days in (-1, 0, 1)]
    assert held["klines"] == held["ticker"] == held["funding"] == around
    table = pq.read_table(built.path / "train.parquet").to_pandas()
    assert len(table) > 150
    # From the first row on: the day before was looked at.
    assert not table["rsi_14"].isna().any()
    assert lacking_days(REQUEST, place.feature_set("1.2.0"), place) == []


def test_a_failure_names_the_days_and_leaves_those_that_are_done(
    place: BuildPlace, server: BybitHistoryServer, tmp_path: Path
) -> None:
    with_trades = replace(REQUEST, registry_version="1.0.0")
    with pytest.raises(NotFound, match=r"DOGEUSDT: .* 2 of 2 could not be: 2025-06-01, 2025-06-02; 2025-06-01: trades"):
        build_dataset(with_trades, place, tmp_path / "dataset")
    asked = len(server.asked)
    server.failures = [None, *[Failure(503)] * 1000]
    try:
        with pytest.raises(StoreUnavailable, match="2025-06-01"):
            build_dataset(replace(REQUEST, registry_version="1.2.0"), empty(place, tmp_path), tmp_path / "dataset")
    finally:
        server.failures = []
    assert len(server.asked) > asked


def empty(place: BuildPlace, tmp_path: Path) -> BuildPlace:
    """The place with nothing in it: each day must be fetched."""
    for path in sorted((tmp_path / "raw" / "manifest").rglob("*.json")):
        path.unlink()
    return place


def test_what_cannot_be_fetched_is_refused_at_once(place: BuildPlace) -> None:
    to_come = TimeBased(default_periods(NOW_NS - DAY_NS, NOW_NS + 2 * DAY_NS))
    with pytest.raises(InvalidRequest, match=r"cannot be fetched: 2025-07-02 is in the future"):
        check_request(replace(REQUEST, strategy=to_come), place, now_ns=NOW_NS + 2 * DAY_NS)
    too_many = TimeBased(default_periods(NOW_NS - 50 * DAY_NS, NOW_NS))
    with pytest.raises(InvalidRequest, match="more than FEATURE_SERVICE_BACKFILL_MAX_DAYS, 40"):
        check_request(replace(REQUEST, strategy=too_many), place, now_ns=NOW_NS)
    with pytest.raises(InvalidRequest, match="no rows"):
        check_request(REQUEST, replace(place, filler=None), now_ns=NOW_NS)


def test_a_cancelled_build_stops_fetching(place: BuildPlace, tmp_path: Path, server: BybitHistoryServer) -> None:
    def cancelled(_share: float) -> None:
        raise Conflict("dataset: must be building, was cancelled")

    asked = len(server.asked)
    with pytest.raises(Conflict, match="was cancelled"):
        build_dataset(REQUEST, place, tmp_path / "dataset", on_progress=cancelled)
    assert len(server.asked) - asked < 10


def test_an_exchange_out_of_reach_is_not_asked_for_every_day(tmp_path: Path) -> None:
    clock, waits = ManualClock(NOW_NS), list[float]()

    def open_place(_sleep: object) -> Place:
        rest = BybitHistory("http://127.0.0.1:1", clock, delay_ms=0, sleep=waits.append)
        return Place(tmp_path, InstrumentPins(tmp_path), rest, str(tmp_path), str(tmp_path), clock)

    days = [f"2025-06-{day:02d}" for day in range(1, 11)]
    failed = MissingDays(open_place, clock, most_days=40).fill(SYMBOL, days, {KLINE}, on_progress=lambda _share: None)
    assert sorted(failed) == days
    assert all(isinstance(error, StoreUnavailable) for error in failed.values())
    assert len(waits) == 2 * MOST_ATTEMPTS
