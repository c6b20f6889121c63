"""The metadata store keeps its contract on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any, cast

import pytest
from sqlalchemy import make_url

from market.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable
from storage.database.connections import POOL_SIZE, open_engine, transaction
from storage.database.dataset_records import BuildMeasured, DatasetRecord, DatasetStatus
from storage.database.metadata import Metadata
from storage.database.migration import upgrade
from tests.dataset_record import NOON, RECORD, building_metrics
from tests.postgres_servers import MigratedPostgres, run


def test_a_dataset_is_read_as_it_was_created(metadata: Metadata) -> None:
    full = replace(
        RECORD,
        status="ready",
        progress=1.0,
        splits_info={"train": {"rows": 3}, "purged": None},
        path="datasets/ds-1",
        train_records=2**40,
        validation_records=0,
        test_records=1,
        error_message="none; really",
    )
    metadata.create_dataset(RECORD)
    metadata.create_dataset(replace(full, dataset_id="ds-2"))
    assert metadata.get_dataset("ds-1") == RECORD
    assert metadata.get_dataset("ds-2") == replace(full, dataset_id="ds-2")


def test_times_come_back_in_utc_whatever_zone_they_had(postgres: MigratedPostgres) -> None:
    with postgres.with_tables() as url, closing(Metadata(url)) as metadata:
        run(url, f"ALTER DATABASE {make_url(url).database} SET timezone TO 'Asia/Kolkata'")
        metadata.create_dataset(replace(RECORD, created_at=NOON.astimezone(timezone(timedelta(hours=3)))))
        read = metadata.get_dataset("ds-1").created_at
    assert (read, read.utcoffset()) == (NOON, timedelta(0))


def test_an_id_is_given_once(metadata: Metadata) -> None:
    metadata.create_dataset(RECORD)
    with pytest.raises(Conflict, match="datasets_pkey"):
        metadata.create_dataset(replace(RECORD, feature_set="other"))
    assert metadata.get_dataset("ds-1") == RECORD


def test_an_unknown_id_is_not_found(metadata: Metadata) -> None:
    with pytest.raises(NotFound, match="dataset: must exist, was 'ds-9'"):
        metadata.get_dataset("ds-9")
    with pytest.raises(NotFound, match="dataset: must exist, was 'ds-9'"):
        metadata.update_dataset("ds-9", NOON, expected_status="building", progress=0.5)


def test_the_list_is_newest_first_and_narrowed_by_status_symbol_and_limit(metadata: Metadata) -> None:
    statuses: list[DatasetStatus] = ["ready", "building", "ready", "failed"]
    for n, status in enumerate(statuses):
        symbols = ("BTCUSDT",) if n % 2 else ("ETHUSDT", "BTCUSDT")
        created_at = NOON + timedelta(microseconds=n)
        metadata.create_dataset(
            replace(RECORD, dataset_id=f"ds-{n}", status=status, symbols=symbols, created_at=created_at)
        )

    def ids(**narrowed: Any) -> list[str]:  # noqa: ANN401  # list_datasets' own keywords
        return [record.dataset_id for record in metadata.list_datasets(**narrowed)]

    assert ids() == ["ds-3", "ds-2", "ds-1", "ds-0"]
    assert ids(limit=2) == ["ds-3", "ds-2"]
    assert ids(status="ready") == ["ds-2", "ds-0"]
    assert ids(symbol="ETHUSDT") == ["ds-2", "ds-0"]
    assert ids(symbol="BTCUSDT") == ["ds-3", "ds-2", "ds-1", "ds-0"]  # second of two symbols as well
    assert ids(symbol="ETH") == []
    assert ids(status="failed", symbol="BTCUSDT") == ["ds-3"]


def test_an_update_changes_what_it_names_of_the_one_dataset(metadata: Metadata) -> None:
    neighbour = replace(RECORD, dataset_id="ds-2")
    metadata.create_dataset(replace(RECORD, splits_info={"train": 1}))
    metadata.create_dataset(neighbour)
    later = NOON + timedelta(hours=1)
    updated = metadata.update_dataset("ds-1", later, progress=0.25, splits_info=None, train_records=7)
    assert updated == replace(RECORD, updated_at=later, progress=0.25, train_records=7)
    assert metadata.get_dataset("ds-1") == updated
    assert metadata.get_dataset("ds-2") == neighbour


def test_an_unset_splits_info_is_null_to_sql_as_well(metadata: Metadata, fresh_url: str) -> None:
    metadata.create_dataset(RECORD)
    assert run(fresh_url, "SELECT splits_info IS NULL FROM datasets") == [(True,)]


def test_a_build_that_ends_does_not_undo_its_cancellation(metadata: Metadata) -> None:
    metadata.create_dataset(RECORD)
    cancelled = metadata.update_dataset("ds-1", NOON, expected_status="building", status="cancelled")
    with pytest.raises(Conflict, match="dataset ds-1: must be building, was cancelled"):
        metadata.update_dataset("ds-1", NOON, expected_status="building", status="ready", progress=1.0)
    assert metadata.get_dataset("ds-1") == cancelled


@pytest.mark.parametrize("progress", [-0.01, 1.01, float("nan")])
def test_progress_outside_0_to_1_is_refused(metadata: Metadata, progress: float) -> None:
    with pytest.raises(Conflict, match="datasets_progress_check"):
        metadata.create_dataset(replace(RECORD, progress=progress))


def test_an_unknown_status_is_refused(metadata: Metadata) -> None:
    with pytest.raises(Conflict, match="datasets_status_check"):
        metadata.create_dataset(replace(RECORD, status="done"))  # type: ignore[arg-type]  # the point of the test


def test_what_postgresql_cannot_hold_is_the_callers_mistake(metadata: Metadata) -> None:
    with pytest.raises(InvalidRequest):
        metadata.get_dataset("ds\0")
    with pytest.raises(InvalidRequest):
        metadata.create_dataset(replace(RECORD, request={"threshold": float("nan")}))


def test_connections_cut_by_the_server_are_replaced(metadata: Metadata, fresh_url: str) -> None:
    metadata.create_dataset(RECORD)
    cut = run(
        fresh_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    assert cut
    assert metadata.get_dataset("ds-1") == RECORD


def test_a_server_that_is_away_is_store_unavailable_and_its_password_stays_secret() -> None:
    away = "postgresql+psycopg://someone:hush@127.0.0.1:1/nothing"
    with closing(Metadata(away)) as metadata, pytest.raises(StoreUnavailable, match="metadata database") as caught:
        metadata.list_datasets()
    assert "hush" not in str(caught.value)
    with pytest.raises(StoreUnavailable):
        upgrade(away)


def test_of_one_request_only_one_dataset_is_building(metadata: Metadata) -> None:
    asked = replace(RECORD, request_hash="h")
    metadata.create_dataset(asked)
    with pytest.raises(Conflict, match="datasets_one_build_of_a_request"):
        metadata.create_dataset(replace(asked, dataset_id="ds-2"))
    assert metadata.find_building("h") == asked
    metadata.update_dataset("ds-1", NOON, status="failed")
    assert metadata.find_building("h") is None
    metadata.create_dataset(replace(asked, dataset_id="ds-2"))
    assert metadata.find_building("h") == replace(asked, dataset_id="ds-2")


def test_the_ready_datasets_of_a_request_are_found_newest_first(metadata: Metadata) -> None:
    assert metadata.find_ready("h") == []
    ready = replace(RECORD, request_hash="h", status="ready")
    newer = replace(ready, dataset_id="ds-2", created_at=NOON + timedelta(seconds=1))
    others = [replace(ready, dataset_id="ds-3", status="failed"), replace(ready, dataset_id="ds-4", request_hash="i")]
    for record in (ready, newer, *others):
        metadata.create_dataset(record)
    assert metadata.find_ready("h") == [newer, ready]


def test_what_must_happen_with_a_dataset_happens_with_it_or_neither_does(metadata: Metadata) -> None:
    def fail(connection: Any) -> None:  # noqa: ANN401  # the driver's own
        connection.execute("SELECT 1")
        raise NotFound("job: must be deferred, was not")

    with pytest.raises(NotFound, match="must be deferred"):
        metadata.create_dataset(RECORD, in_transaction=fail)
    assert metadata.list_datasets() == []


def test_a_new_attempt_shuts_out_the_one_before_it(metadata: Metadata) -> None:
    metadata.create_dataset(RECORD)
    first, second = (metadata.begin_attempt("ds-1", NOON).attempt for _ in range(2))
    assert (first, second) == (1, 2)
    with pytest.raises(Conflict, match="dataset ds-1: must be in attempt 1, was 2"):
        metadata.update_dataset("ds-1", NOON, expected_status="building", expected_attempt=first, progress=0.9)
    metadata.update_dataset("ds-1", NOON, expected_status="building", expected_attempt=second, status="ready")
    with pytest.raises(Conflict, match="dataset ds-1: must be building, was ready"):
        metadata.begin_attempt("ds-1", NOON)


def test_an_ended_dataset_is_announced_once_and_again_after_a_failure(metadata: Metadata) -> None:
    sent: list[str] = []
    statuses: tuple[DatasetStatus, ...] = ("building", "ready", "failed", "cancelled")
    for at, status in enumerate(statuses):
        record = replace(RECORD, dataset_id=status, status=status, updated_at=NOON + timedelta(seconds=at))
        metadata.create_dataset(record)

    def broken(record: DatasetRecord) -> None:
        sent.append(record.dataset_id)
        raise StoreUnavailable("broker: no answer")

    with pytest.raises(StoreUnavailable, match="broker"):
        metadata.announce_next(broken, NOON)
    while metadata.announce_next(lambda record: sent.append(record.dataset_id), NOON):
        pass
    assert sent == ["ready", "ready", "failed"]
    assert metadata.get_dataset("ready").announced_at == NOON


def test_two_announcers_never_send_the_same_dataset_at_once(metadata: Metadata) -> None:
    metadata.create_dataset(replace(RECORD, status="ready"))
    others: list[bool] = []
    metadata.announce_next(lambda _: others.append(metadata.announce_next(lambda _: None, NOON)), NOON)
    assert others == [False]


def measured(dataset_id: str, *, attempt: int = 1) -> BuildMeasured:
    return BuildMeasured(
        dataset_id=dataset_id,
        attempt=attempt,
        samples=3600,
        days_computed=2,
        days_reused=1,
        features_seconds=1.5,
        build_seconds=0.25,
    )


def test_measured_builds_come_back_newest_first(metadata: Metadata) -> None:
    for at, (name, status) in enumerate((("ds-1", "ready"), ("ds-2", "ready"), ("ds-3", "failed"))):
        metadata.create_dataset(replace(RECORD, dataset_id=name))
        metadata.begin_attempt(name, NOON)
        metadata.update_dataset(name, NOON + timedelta(seconds=at), status=cast("DatasetStatus", status))
        metadata.add_build_measured(measured(name))
    assert metadata.list_builds_measured(limit=5) == [measured("ds-2"), measured("ds-1")]
    assert metadata.list_builds_measured(limit=1) == [measured("ds-2")]


def test_each_attempt_is_a_row_from_its_begin_to_its_end(metadata: Metadata, fresh_url: str) -> None:
    asked = replace(RECORD, symbols=("BTCUSDT", "ETHUSDT"), splits_info={"split_strategy": "time_based"}, trace_id="t")
    metadata.create_dataset(asked)
    metadata.begin_attempt("ds-1", NOON)
    rest = ("BTCUSDT,ETHUSDT", "building", None, None, None, "time_based", "t")
    assert building_metrics(fresh_url) == [("ds-1", 1, *rest)]
    metadata.begin_attempt("ds-1", NOON + timedelta(seconds=30))  # its worker died
    metadata.update_dataset(
        "ds-1",
        NOON + timedelta(seconds=42.5),
        status="ready",
        splits_info={},
        train_records=70,
        validation_records=20,
        test_records=10,
    )
    assert building_metrics(fresh_url) == [
        ("ds-1", 1, "BTCUSDT,ETHUSDT", "failed", 30.0, None, None, "time_based", "t"),
        ("ds-1", 2, "BTCUSDT,ETHUSDT", "ready", 12.5, 100, 10, "time_based", "t"),
    ]
    # What happens to the record later is no build.
    metadata.update_dataset("ds-1", NOON + timedelta(hours=1), announced_at=NOON)
    assert building_metrics(fresh_url)[1][4] == 12.5


def test_a_build_that_is_cancelled_before_it_began_leaves_no_row(metadata: Metadata, fresh_url: str) -> None:
    metadata.create_dataset(RECORD)
    metadata.update_dataset("ds-1", NOON, status="cancelled")
    assert building_metrics(fresh_url) == []


def test_too_many_at_once_are_told_so_and_not_in_the_words_of_the_pool(fresh_url: str) -> None:
    engine = open_engine(fresh_url, options="")
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        for _ in range(POOL_SIZE):
            stack.enter_context(engine.connect())
        with (
            pytest.raises(
                StoreUnavailable, match=r"^metadata database: must have a connection free within 5 s, had none$"
            ),
            transaction(engine),
        ):
            pass
