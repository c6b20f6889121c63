"""What every engine keeps: a rebuild has the same bytes whichever one wrote them, and its errors are ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backfill.archived_days import ArchivedAhead, archived_kind
from backfill.days import DayDone, backfill_day
from backfill.fetching import SymbolDay
from feature_repo.registry_versions import SHIPPED_FOLDER, load_registry_version
from ingestion.tape.quality import SymbolReport
from market.clock import DAY_NS
from market.errors import InvalidRequest, NotFound, StoreUnavailable
from quality.limits import QualityLimits
from runtime.queued_reports import report_kind
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.database.schema import ENGINE_TASKS
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from tests.archived_files import archive_place, files_of, unnamed_files, write_book, write_trades
from tests.leakage_checks import accused, checking, drawn_rows, plant
from tests.many_days import BEGIN_NS, digests, ranges, rebuilt_here, write_days
from tests.ports import free_port
from tests.postgres_servers import MigratedPostgres
from tests.ray_cluster import Cluster
from tests.waiting import eventually
from training_sets.checks.blinding import check_features
from training_sets.checks.queued import recomputing_kinds
from training_sets.engines.engine import Engine, performed
from training_sets.engines.job_queue import Kind, QueueEngine
from training_sets.engines.pool import Pool
from training_sets.engines.ray import RayCluster
from training_sets.rebuild.days import rebuild_days
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.queued import rebuild_kind
from training_sets.rebuild.runs import RebuildRun, RebuiltDay

DAYS = 4
DEADLINE_S = 120.0
SYMBOLS = ("BTCUSDT", "ETHUSDT")
ARCHIVED, ARCHIVED_DAYS = "DOGEUSDT", ("2025-05-29", "2025-05-30", "2025-05-31", "2025-06-01")
WITHOUT_TRADES, WITHOUT_BOOK = ARCHIVED_DAYS[1], ARCHIVED_DAYS[2]


@dataclass(frozen=True)
class Add:
    """A task that needs no store."""

    left: int
    right: int

    def perform(self, is_stopping: Callable[[], bool]) -> int:
        assert not is_stopping()
        if self.right < 0:
            raise InvalidRequest(f"right: must be 0 or more, was {self.right}")
        return self.left + self.right


@dataclass(frozen=True)
class KillsAWorker:
    """A task whose process dies when it is performed by another than the one that asks, for the first time."""

    been_here: str
    asker: int

    def perform(self, is_stopping: Callable[[], bool]) -> str:
        assert not is_stopping()
        been_here = Path(self.been_here)
        if os.getpid() == self.asker:
            eventually(been_here.exists, deadline_s=DEADLINE_S)
        elif not been_here.exists():
            been_here.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "performed"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_days(folder, SYMBOLS, DAYS)
    return folder


@pytest.fixture(scope="module")
def features(raw: Path, tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> Path:
    """The feature log of a rebuild in this thread."""
    folder = tmp_path_factory.mktemp("features")
    rebuilt_here(raw, folder, kernel_cache, SYMBOLS, DAYS)
    return folder


@pytest.fixture(scope="module")
def expected(features: Path) -> dict[str, str]:
    return digests(features)


def report_of(raw: Path, features: Path, symbol: str) -> SymbolReport:
    """Of the first day."""
    return SymbolReport(
        raw=RawData(raw),
        log=FeatureLog(features),
        symbol=symbol,
        served=load_registry_version("1.0.0").feature_set,
        from_ns=BEGIN_NS,
        to_ns=BEGIN_NS + DAY_NS,
        limits=QualityLimits(book_silence_s=7),
    )


def outcome(ask: Callable[[], DayDone | None]) -> DayDone | str | None:
    """What became of a day, or why it failed."""
    try:
        return ask()
    except NotFound as error:
        return str(error)


class EngineContract:
    """Its subclasses say what ``engine`` is."""

    def test_a_rebuild_of_two_symbols_writes_the_bytes_of_one_in_this_thread_and_nothing_twice(
        self, engine: Engine, raw: Path, tmp_path: Path, kernel_cache: Path, expected: dict[str, str]
    ) -> None:
        days = [*rebuild_days(ranges(raw, tmp_path, kernel_cache, SYMBOLS), engine=engine)]
        assert {(day.symbol, day.date) for day in days} == {
            (symbol, f"2026-01-0{5 + number}") for symbol in SYMBOLS for number in range(DAYS)
        }
        assert digests(tmp_path) == expected
        assert all(day.rows > 0 for day in days)
        assert not any(day.rows for day in rebuild_days(ranges(raw, tmp_path, kernel_cache, SYMBOLS), engine=engine))

    def test_data_quality_reports_are_those_of_this_thread(self, engine: Engine, raw: Path, tmp_path: Path) -> None:
        reports = [report_of(raw, tmp_path, symbol) for symbol in SYMBOLS]
        found = {each["symbol"]: each for each in performed(reports, engine)}
        assert found == {each.symbol: each.perform(lambda: False) for each in reports}
        assert all(each["streams"]["trade"]["received"] == 1440 for each in found.values())

    def test_a_leakage_check_finds_what_it_finds_in_this_thread(
        self, engine: Engine, raw: Path, tmp_path: Path, kernel_cache: Path, features: Path
    ) -> None:
        shutil.copytree(features, tmp_path, dirs_exist_ok=True)
        there, here = (checking(raw, tmp_path, kernel_cache, SYMBOLS, engine=each) for each in (engine, None))
        rows = drawn_rows(tmp_path, SYMBOLS, DAYS)
        told = check_features(rows, there)
        assert told == check_features(rows, here)
        assert told["rows_rebuilt_from_their_past"] == len(rows)
        plant(tmp_path, "ETHUSDT", "2026-01-05")
        plant(tmp_path, "BTCUSDT", "2026-01-08")
        accusation = accused(SYMBOLS, DAYS, there)
        assert accusation == accused(SYMBOLS, DAYS, here)
        assert "the feature log of BTCUSDT 2026-01-08 must be what its raw data gives, volume_3s" in accusation

    def test_archived_days_have_the_bytes_of_days_decoded_in_this_thread(self, engine: Engine, tmp_path: Path) -> None:
        for date in ARCHIVED_DAYS:
            if date != WITHOUT_TRADES:
                write_trades(tmp_path / "archive", ARCHIVED, date)
            if date != WITHOUT_BOOK:
                write_book(tmp_path / "archive", ARCHIVED, date)
        there = archive_place(tmp_path / "raw", tmp_path / "archive", ARCHIVED, engine=engine)
        here = archive_place(tmp_path / "raw here", tmp_path / "archive", ARCHIVED, engine=None)
        asked = [SymbolDay(ARCHIVED, data_type, day) for day in ARCHIVED_DAYS for data_type in ("trades", "orderbook")]
        found, left = [], []
        with closing(ArchivedAhead(there, ARCHIVED, ARCHIVED_DAYS, ("trades", "orderbook"))) as ahead:
            for day in asked:
                done = outcome(partial(ahead.of, day))
                if done is None:
                    left.append(day)
                    done = outcome(partial(backfill_day, there, day))
                found.append(done)
        assert found == [outcome(partial(backfill_day, here, day)) for day in asked]
        assert [isinstance(done, str) for done in found] == [False, False, True, False, False, True, False, False]
        # The day before it failed, so history begins with it.
        assert left == [SymbolDay(ARCHIVED, "trades", WITHOUT_BOOK)]
        assert files_of(there, ARCHIVED) == files_of(here, ARCHIVED)
        assert not unnamed_files(there, ARCHIVED)

    def test_every_task_is_answered(self, engine: Engine) -> None:
        assert sorted(engine.run([Add(1, 2), Add(3, 4), Add(5, 6)])) == [3, 7, 11]

    def test_an_error_of_ours_arrives_as_it_was_raised(self, engine: Engine) -> None:
        with pytest.raises(InvalidRequest, match="right: must be 0 or more, was -1"):
            list(engine.run([Add(1, -1)]))


class TestPool(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return Pool(2)


def queue_engine(url: str, raw: Path, features: Path, kernel_cache: Path) -> QueueEngine:
    kinds: list[Kind[Any]] = [
        rebuild_kind(RawData(raw), FeatureLog(features), kernel_cache),
        archived_kind(RawData(features / "raw"), trades=str(features / "archive"), orderbook=str(features / "archive")),
        *recomputing_kinds(RawData(raw), FeatureLog(features), kernel_cache),
        report_kind(RawData(raw), FeatureLog(features), SHIPPED_FOLDER),
        Kind("add", Add, asdict, lambda document: Add(**document), int, int),
        Kind("kills a worker", KillsAWorker, asdict, lambda document: KillsAWorker(**document), str, str),
    ]
    return QueueEngine(Metadata(url), JobQueue(url, stalled_after_s=2.0), kinds, lambda: uuid.uuid4().hex, 2)


def perform_tasks(url: str, folder: Path) -> None:
    """A process with the jobs role, as far as engines go."""
    queue_engine(url, folder, folder, folder).worker(lambda: False).run()


class TestQueueEngine(EngineContract):
    @pytest.fixture
    def engine(
        self, raw: Path, tmp_path: Path, kernel_cache: Path, server_postgres: MigratedPostgres
    ) -> Iterator[QueueEngine]:
        with server_postgres.with_tables() as url:
            engine = queue_engine(url, raw, tmp_path, kernel_cache)
            with closing(engine.metadata):
                yield engine

    def test_nothing_is_left_of_a_run_that_has_ended(self, engine: QueueEngine) -> None:
        assert list(engine.run([Add(1, 2)])) == [3]
        with pytest.raises(InvalidRequest):
            list(engine.run([Add(1, -1), *[Add(1, 1)] * 9]))
        assert engine.metadata.rows(select(ENGINE_TASKS)) == []
        engine.worker(lambda: False).run_until_empty()  # what is left in the queue finds nothing to do
        assert engine.queue.unfinished() == []

    def test_a_task_whose_worker_died_is_performed_by_another(
        self, raw: Path, tmp_path: Path, kernel_cache: Path, server_postgres: MigratedPostgres
    ) -> None:
        with server_postgres.with_tables() as url:
            other = get_context("spawn").Process(target=perform_tasks, args=(url, tmp_path))
            other.start()
            engine = queue_engine(url, raw, tmp_path, kernel_cache)
            with closing(engine.metadata):
                # One is taken here and waits for the other, which is taken there.
                tasks = [KillsAWorker(str(tmp_path / "been here"), os.getpid())] * 2
                assert list(engine.run(tasks)) == ["performed"] * 2
            other.join()
            assert other.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("version", ["1.0.0", "1.2.0", "2.0.0"])
def test_a_run_of_days_is_the_same_after_a_way_through_json(version: str, tmp_path: Path) -> None:
    raw, features = RawData(tmp_path / "raw"), FeatureLog(tmp_path / "features")
    chosen = load_registry_version(version).feature_set
    rebuild = Rebuild(raw, features, tmp_path, "BTCUSDT", chosen, reuses_days=False, keeps_served=True)
    run = RebuildRun(rebuild, ((BEGIN_NS, {"price": "00ff"}), (BEGIN_NS + DAY_NS, {"price": "11ee"})))
    kind = rebuild_kind(raw, features, tmp_path)
    read = kind.task(json.loads(json.dumps(kind.document(run))))
    assert isinstance(read, RebuildRun)
    assert replace(read, rebuild=replace(read.rebuild, clock=rebuild.clock)) == run
    days = [RebuiltDay("BTCUSDT", "2026-01-05", 7, ("price",))]
    assert kind.result(json.loads(json.dumps(kind.result_document(days)))) == days


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Cluster]:
    with Cluster(cpus=2) as cluster:
        yield cluster


class TestRayCluster(EngineContract):
    @pytest.fixture
    def engine(self, ray_cluster: Cluster) -> Engine:
        return RayCluster(ray_cluster.address, 2)

    @pytest.mark.soak
    def test_a_leakage_check_finds_what_it_finds_in_this_thread(
        self, engine: Engine, raw: Path, tmp_path: Path, kernel_cache: Path, features: Path
    ) -> None:
        super().test_a_leakage_check_finds_what_it_finds_in_this_thread(engine, raw, tmp_path, kernel_cache, features)

    @pytest.mark.soak
    def test_archived_days_have_the_bytes_of_days_decoded_in_this_thread(self, engine: Engine, tmp_path: Path) -> None:
        super().test_archived_days_have_the_bytes_of_days_decoded_in_this_thread(engine, tmp_path)

    def test_a_task_whose_process_died_is_performed_again(self, engine: Engine, tmp_path: Path) -> None:
        assert list(engine.run([KillsAWorker(str(tmp_path / "been here"), os.getpid())])) == ["performed"]


def test_a_cluster_that_does_not_answer_is_told_by_its_address() -> None:
    cluster = RayCluster(f"127.0.0.1:{free_port()}", 2, patience_s=0.0)
    with pytest.raises(StoreUnavailable, match=r"Ray at 127.0.0.1:\d+: no answer for 0 s, 1 of 1 tasks are left"):
        list(cluster.run([Add(1, 2)]))
