"""Backfills keep their contract: over HTTP and in a worker, against a server that speaks as the exchange does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Final

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api import backfill as routes
from api.access import Door
from api.errors import install_error_handlers
from api.services import services_of
from backfill.bybit.rest import BybitHistory
from backfill.fetching import Place, SymbolDay
from backfill.jobs import BackfillJobs
from backfill.request import BackfillRequest
from feature_repo.registry_versions import DEFAULT_VERSION
from market.clock import ManualClock, parse_iso_ns
from storage.database.backfill_jobs import BackfillStore
from storage.database.job_queue import JobQueue
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.archived_files import write_book
from tests.bybit_rest import BybitHistoryServer, Failure, History, recorded_klines
from tests.engines import Backwards
from tests.killed_backfills import files_of
from tests.postgres_servers import MigratedPostgres, empty_tables, run
from training_sets.engines.engine import Engine

ROOT: Final = Path(__file__).parents[2]
DOGE: Final = "DOGEUSDT"
DEADLINE_S: Final = 60.0
NOW: Final = "2025-06-03T12:00:00"
KEY: Final = "key"


@pytest.fixture(scope="module")
def url(embedded_postgres: MigratedPostgres) -> Iterator[str]:
    with embedded_postgres.with_tables() as made:
        yield made


@pytest.fixture
def exchange(recorded_data: Path) -> Iterator[BybitHistoryServer]:
    rows = recorded_klines(recorded_data / "klines" / "DOGEUSDT_1m.csv.gz", last=6 * 1440)
    launched_ms = parse_iso_ns("2025-05-30") // 10**6
    with BybitHistoryServer({DOGE: History(klines=rows, launched_ms=launched_ms)}) as running:
        yield running


@pytest.fixture
def pauses() -> list[Callable[[], object]]:
    """What is called whenever the exchange is about to be asked."""
    return []


@pytest.fixture
def engine() -> Engine | None:
    """What decodes order books; None is the job itself."""
    return None


@pytest.fixture
def jobs(
    url: str,
    exchange: BybitHistoryServer,
    pauses: list[Callable[[], object]],
    tmp_path: Path,
    engine: Engine | None,
) -> Iterator[BackfillJobs]:
    empty_tables(url)

    def pause(_seconds: float) -> None:
        for called in pauses:
            called()

    def place(_sleep: object) -> Place:
        clock = ManualClock(parse_iso_ns(NOW))
        rest = BybitHistory(exchange.url, clock, delay_ms=0, sleep=pause)
        return Place(tmp_path, InstrumentPins(tmp_path), rest, str(tmp_path), str(tmp_path), clock, engine=engine)

    ids = iter(range(1, 100))
    with closing(BackfillStore(url)) as store:
        made = BackfillJobs(store, JobQueue(url), place, make_id=lambda: f"job-{next(ids)}", most_days=5)
        yield made
        made.close()


@pytest.fixture
def client(jobs: BackfillJobs) -> TestClient:
    class Services:
        backfills = jobs
        default_version = DEFAULT_VERSION
        versions_folder = ROOT / "feature_repo" / "registry"

    app = FastAPI()
    app.add_middleware(Door, api_key=KEY, make_trace_id=lambda: "trace", now_s=lambda: 0)
    install_error_handlers(app)
    app.include_router(routes.router)
    app.dependency_overrides[services_of] = lambda: Services
    return TestClient(app, headers={"X-API-Key": KEY})


def asked(**changes: object) -> dict[str, object]:
    return {"symbol": DOGE, "start_date": "2025-05-31", "end_date": "2025-06-02", "data_types": ["klines"]} | changes


@pytest.mark.parametrize("engine", [None, Backwards()], ids=["by the job", "by an engine"])
def test_order_books_of_archived_days_are_decoded_by_the_engine_once_a_candle_has_pinned_the_scale(
    jobs: BackfillJobs, tmp_path: Path, engine: Backwards | None
) -> None:
    days = ["2025-05-31", "2025-06-01", "2025-06-02"]
    for day in days[::2]:
        write_book(tmp_path, DOGE, day)
    request = BackfillRequest(DOGE, date(2025, 5, 31), date(2025, 6, 2), ("klines", "orderbook"))
    record = jobs.run_here(request)
    assert (record.status, record.completed_dates, record.failed_dates) == ("failed", (days[0], days[2]), (days[1],))
    assert [record.details[day]["orderbook"].get("messages") for day in days] == [21, None, 21]
    assert "must hold 2025-06-01_DOGEUSDT_ob500.data.zip" in record.details[days[1]]["orderbook"]["error"]
    assert {part.name for part in RawData(tmp_path).parts(DOGE)} == {
        SymbolDay(DOGE, data_type, day).part
        for data_type, day in [*(("klines", day) for day in days), ("orderbook", days[0]), ("orderbook", days[2])]
    }
    # Of the last day the exchange might still have the book of now.
    given = [] if engine is None else [task.asked.day for task in engine.given]
    assert given == ([] if engine is None else [days[1], days[0]])


def test_a_backfill_is_answered_at_once_and_followed_to_its_end_in_the_documents_bodies(
    client: TestClient, jobs: BackfillJobs, tmp_path: Path
) -> None:
    started = client.post("/backfill/historical", json=asked())
    assert started.status_code == 202
    assert started.json() == {"job_id": "job-1", "status": "pending", "message": "Backfilling job started"}
    waits = client.get("/backfill/status/job-1").json()
    assert waits == {
        **asked(),
        "job_id": "job-1",
        "status": "pending",
        "progress": {"dates_completed": 0, "dates_total": 3},
        "start_time": None,
        "end_time": None,
        "error_message": None,
        "completed_dates": [],
        "failed_dates": [],
    }
    jobs.worker().run_until_empty()
    done = client.get("/backfill/status/job-1").json()
    days = ["2025-05-31", "2025-06-01", "2025-06-02"]
    at = "2025-06-03T12:00:00+00:00"
    ended = {"status": "completed", "progress": {"dates_completed": 3, "dates_total": 3}, "completed_dates": days}
    assert done == {**waits, **ended, "start_time": at, "end_time": at}
    assert client.get("/backfill/list").json() == [done]
    assert client.get("/backfill/list", params={"status": "failed"}).json() == []
    assert [part.name for part in RawData(tmp_path).parts(DOGE)] == [
        SymbolDay(DOGE, "klines", day).part for day in days
    ]


def test_a_failed_day_stops_no_other_is_tried_once_more_and_named(
    client: TestClient, jobs: BackfillJobs, exchange: BybitHistoryServer
) -> None:
    client.post("/backfill/historical", json=asked())
    exchange.failures += [None, None, Failure(400, b"no"), None, None, Failure(400, b"still no")]
    jobs.worker().run_until_empty()
    found = client.get("/backfill/status/job-1").json()
    assert (found["status"], found["failed_dates"]) == ("failed", ["2025-06-01"])
    assert found["completed_dates"] == ["2025-05-31", "2025-06-02"]
    assert found["error_message"].startswith("2025-06-01: ")
    assert "still no" in found["error_message"]
    exchange.asked.clear()
    client.post("/backfill/historical", json=asked())
    jobs.worker().run_until_empty()
    assert client.get("/backfill/status/job-2").json()["status"] == "completed"
    days = {int(sent["start"]) for path, sent in exchange.asked if path == "/v5/market/kline"}
    assert days == {parse_iso_ns("2025-06-01") // 10**6}, "the other days stand"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"start_date": "2025-06-02", "end_date": "2025-06-01"}, "up to 5 days that end on 2025-06-03"),
        ({"end_date": "2025-06-04"}, "must not be after today, 2025-06-03, was 2025-06-04"),
        ({"start_date": "2025-05-01"}, "start_date can be 2025-05-29 or later"),
        ({"start_date": "31.05.2025"}, "start_date: must be a date YYYY-MM-DD"),
        (
            {"start_date": "2025-05-27", "end_date": "2025-05-29"},
            "must be 2025-05-30 or later, when DOGEUSDT was listed",
        ),
        ({"symbol": "NOSUCH"}, "symbol invalid"),
        ({"symbol": "no/such"}, "symbol: must be an instrument"),
        ({"data_types": ["candles"]}, "must be one or more of klines"),
        ({"data_types": []}, "must be one or more of klines"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_possible(
    client: TestClient, *, changes: dict[str, object], told: str
) -> None:
    answer = client.post("/backfill/historical", json=asked(**changes))
    assert answer.status_code == 400
    assert told in answer.json()["message"]
    assert client.get("/backfill/list").json() == []


def test_auto_asks_for_the_last_days_of_what_the_served_registry_version_reads(client: TestClient) -> None:
    assert client.post("/backfill/auto", json={"symbol": DOGE, "max_days": 6}).status_code == 400
    assert client.post("/backfill/auto", json={"symbol": DOGE, "max_days": 3}).status_code == 202
    found = client.get("/backfill/status/job-1").json()
    assert found["data_types"] == ["klines", "trades", "orderbook", "ticker", "funding"]
    assert (found["start_date"], found["end_date"]) == ("2025-05-31", "2025-06-02"), "archives have no file of today"


def test_a_cancelled_backfill_ends_and_keeps_what_it_has(client: TestClient, jobs: BackfillJobs) -> None:
    client.post("/backfill/historical", json=asked())
    answer = client.post("/backfill/job-1/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    jobs.worker().run_until_empty()
    assert client.get("/backfill/status/job-1").json()["completed_dates"] == []
    assert client.post("/backfill/job-1/cancel").status_code == 409
    assert client.post("/backfill/job-9/cancel").status_code == 404


def test_a_job_without_anybody_to_do_it_is_queued_anew_and_done_once(
    client: TestClient, jobs: BackfillJobs, url: str
) -> None:
    client.post("/backfill/historical", json=asked())
    run(url, "TRUNCATE jobs.procrastinate_jobs CASCADE")
    assert jobs.look(forgotten_after_s=3600) == 0
    assert jobs.look(forgotten_after_s=0) == 1
    assert jobs.look(forgotten_after_s=0) == 0
    jobs.worker().run_until_empty()
    assert client.get("/backfill/status/job-1").json()["status"] == "completed"


KILLED: Final = """
import sys
from pathlib import Path
from backfill import days
from backfill.fetching import Place, SymbolDay
from backfill.bybit.rest import BybitHistory
from market.clock import ManualClock
from storage.instruments import InstrumentPins
root, url, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
clock = ManualClock(1748952000 * 10**9)
place = Place(root, InstrumentPins(root), BybitHistory(url, clock, delay_ms=0), "", "", clock)
calls = 0
def trace(frame, event, argument):
    global calls
    if event == "call" and "/storage/" in frame.f_code.co_filename:
        calls += 1
        if calls == at:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(trace)
days.backfill_day(place, SymbolDay("DOGEUSDT", "klines", "2025-05-31"))
print(calls)
"""


@pytest.mark.soak
def test_killed_anywhere_and_begun_anew_a_day_has_the_same_bytes(exchange: BybitHistoryServer, tmp_path: Path) -> None:
    def attempt(root: Path, at: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", KILLED, str(root), exchange.url, str(at)]
        return subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=DEADLINE_S, check=False)

    whole = attempt(tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    calls = int(whole.stdout)
    for share in (0.4, 0.8, 0.97):
        root = tmp_path / f"killed-{share}"
        assert attempt(root, int(calls * share)).returncode == -9
        assert attempt(root, 0).returncode == 0
        assert files_of(root) == files_of(tmp_path / "whole")
