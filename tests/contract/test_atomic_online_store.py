"""The online store for anybody's views through a real FeatureStore, beside Feast's own Redis store where that errs."""

from __future__ import annotations

import asyncio
import math
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.data_source import PushMode, PushSource
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64, String
from feast.value_type import ValueType

from feature_repo.online_store import AtomicRedisOnlineStore, AtomicRedisOnlineStoreConfig, write_views
from market.clock import ManualClock, to_ns
from market.errors import InvalidRequest
from tests.redis_servers import HOST, PORT

OURS = "feature_repo.online_store.AtomicRedisOnlineStore"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
VENUE = Entity(name="venue", join_keys=["venue"], value_type=ValueType.STRING)
REFERENCES = ["fees:taker", "fees:tier", "load:delay"]

MakeStore: TypeAlias = Callable[..., FeatureStore]


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def make_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeStore]:
    """A repository with two views of one push source, on the server that is there; all of a test share its keys."""
    monkeypatch.setattr(AtomicRedisOnlineStore, "clock", ManualClock(to_ns(NOW)))
    project = f"atomic_{uuid.uuid4().hex[:12]}"

    def source(name: str) -> FileSource:
        return FileSource(
            name=f"{name}_rows",
            path=str(tmp_path / name),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        )

    pushed = PushSource(name="venue_push", batch_source=source("push"))
    fees = FeatureView(
        name="fees",
        entities=[VENUE],
        ttl=timedelta(hours=1),
        schema=[Field(name="venue", dtype=String), Field(name="taker", dtype=Float64), Field(name="tier", dtype=Int64)],
        source=pushed,
    )
    load = FeatureView(
        name="load",
        entities=[VENUE],
        ttl=timedelta(0),
        schema=[Field(name="venue", dtype=String), Field(name="delay", dtype=Float64)],
        source=pushed,
    )

    def make(type_: str = OURS, **options: float) -> FeatureStore:
        config = RepoConfig(
            project=project,
            provider="local",
            registry=str(tmp_path / "registry.db"),
            online_store={"type": type_, "connection_string": f"{HOST}:{PORT}", **options},
            offline_store={"type": "feature_repo.offline_store.AsOfOfflineStore"},
            entity_key_serialization_version=3,
            repo_path=tmp_path,
        )
        store = FeatureStore(config=config)
        store.apply([VENUE, fees, load])
        return store

    yield make
    make("redis").teardown()  # type: ignore[no-untyped-call]  # untyped in Feast


def rows(venue: str = "bybit", *, seconds: float = 0, created: float | None = None, taker: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "venue": [venue],
            "taker": [taker],
            "tier": [3],
            "delay": [taker],
            "event_timestamp": [at(seconds)],
            "created": [at(seconds if created is None else created)],
        }
    )


def taker(store: FeatureStore, venue: str = "bybit") -> float | None:
    value: float | None = store.get_online_features(REFERENCES, [{"venue": venue}]).to_dict()["taker"][0]
    return value


def statuses(store: FeatureStore, *venues: str) -> dict[str, list[str]]:
    answer = store.get_online_features(REFERENCES, [{"venue": venue} for venue in venues]).proto
    kinds = answer.DESCRIPTOR.file.enum_types_by_name["FieldStatus"].values_by_number
    return {
        name: [kinds[status].name for status in vector.statuses]
        for name, vector in zip(answer.metadata.feature_names.val, answer.results, strict=True)
    }


def test_the_newest_wins_by_event_then_creation_time_then_the_last_to_write(make_store: MakeStore) -> None:
    store = make_store()
    for seconds, created, value, kept in (
        (-10, -10, 1.0, 1.0),
        (-20, 0, 2.0, 1.0),  # older, though written and created later
        (-10, -5, 3.0, 3.0),  # a restatement
        (-10, -7, 4.0, 3.0),  # an older statement
        (-10, -5, 5.0, 5.0),
        (-9.5, -9.5, 6.0, 6.0),
        (-9.6, 0, 7.0, 6.0),
    ):
        store.push("venue_push", rows(seconds=seconds, created=created, taker=value))
        assert taker(store) == kept, (seconds, created, value)

    # Feast's own drops the restatement.
    theirs = make_store("redis")
    theirs.push("venue_push", rows("okx", seconds=-10, created=-10, taker=1.0))
    theirs.push("venue_push", rows("okx", seconds=-10, created=-5, taker=2.0))
    assert taker(theirs, "okx") == 1.0


def test_rows_of_one_batch_are_compared_too(make_store: MakeStore) -> None:
    store = make_store()
    batch = pd.concat([rows(seconds=-2, taker=2.0), rows(seconds=-1, taker=3.0), rows(seconds=-3, taker=1.0)])
    store.write_to_online_store("fees", batch)
    assert taker(store) == 3.0


def test_feasts_own_redis_store_reads_what_was_written_and_is_read(make_store: MakeStore) -> None:
    ours, theirs = make_store(), make_store("redis")
    ours.push("venue_push", rows(seconds=-3, taker=1.5))
    assert theirs.get_online_features(REFERENCES, [{"venue": "bybit"}]).to_dict()["taker"] == [1.5]
    theirs.push("venue_push", rows(seconds=-2, created=-1.5, taker=2.5))
    assert taker(ours) == 2.5
    # The creation time that we keep is of the row before, and says nothing of theirs.
    ours.push("venue_push", rows(seconds=-2, created=-2, taker=3.5))
    assert taker(ours) == 3.5


def test_a_row_of_the_future_is_refused_whole_where_feasts_store_keeps_true_ones_out(make_store: MakeStore) -> None:
    store = make_store(max_ahead_s=2)
    batch = pd.concat([rows(seconds=-1), rows("okx", seconds=3)])
    with pytest.raises(
        InvalidRequest, match=r"(fees|load): event times must be at most 2 s ahead of the clock, was 2026-03-01"
    ):
        store.push("venue_push", batch)
    assert taker(store) is None
    store.push("venue_push", rows(seconds=2, taker=7.0))
    assert taker(store) == 7.0

    theirs = make_store("redis")
    theirs.push("venue_push", rows("deribit", seconds=86_400 * 365 * 70, taker=99.0))
    theirs.push("venue_push", rows("deribit", taker=1.0))
    assert taker(theirs, "deribit") == 99.0


def test_statuses_are_true_and_what_is_older_than_its_ttl_is_not_given(make_store: MakeStore) -> None:
    store = make_store()
    store.push("venue_push", rows("edge", seconds=-3600))
    store.push("venue_push", rows("old", seconds=-3600.001))
    store.push(
        "venue_push", pd.concat([rows("null", taker=math.nan), rows("okx")])
    )  # Feast writes no frame of nulls alone
    venues = ["edge", "old", "null", "unknown"]
    found = store.get_online_features(REFERENCES, [{"venue": venue} for venue in venues])
    assert found.to_dict()["taker"] == [1.0, None, None, None]
    assert found.to_dict()["tier"] == [3, None, 3, None]
    assert found.to_dict()["delay"] == [1.0, 1.0, None, None]  # a ttl of 0 is none
    assert statuses(store, *venues) == {
        "venue": ["PRESENT"] * 4,
        "taker": ["PRESENT", "OUTSIDE_MAX_AGE", "NULL_VALUE", "NOT_FOUND"],
        "tier": ["PRESENT", "OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"],
        "delay": ["PRESENT", "PRESENT", "NULL_VALUE", "NOT_FOUND"],
    }
    assert statuses(make_store("redis"), *venues)["taker"] == ["PRESENT"] * 4

    view = store.get_feature_view("fees")
    keys = [_key(venue) for venue in venues]
    read = store._get_provider().online_read(store.config, view, keys, ["tier"])
    assert [None if values is None else values["tier"].int64_val for _, values in read] == [3, None, 3, None]


def _key(venue: str) -> EntityKey:
    return EntityKey(join_keys=["venue"], entity_values=[Value(string_val=venue)])


def test_views_that_are_written_together_are_read_together_under_writes(make_store: MakeStore) -> None:
    store = make_store()
    reader = make_store()
    torn, rounds, stop = [], 0, threading.Event()

    def write() -> None:
        for number in range(100):
            frame = rows(seconds=-100 + number, taker=float(number))
            write_views(store, {"fees": frame, "load": frame})
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stop.is_set():
        found = reader.get_online_features(REFERENCES, [{"venue": "bybit"}]).to_dict()
        rounds += 1
        if found["taker"] != found["delay"]:
            torn.append(found)
    writer.join()
    assert rounds > 10
    assert torn == []


def test_views_written_together_say_how_many_rows_were_newer(make_store: MakeStore) -> None:
    store = make_store()
    frame = pd.concat([rows(), rows("okx")])
    assert write_views(store, {"fees": frame, "load": frame}) == 4
    assert write_views(store, {"fees": rows(seconds=-1), "load": rows(seconds=1)}) == 1
    with pytest.raises(InvalidRequest, match="online_store: must be AtomicRedisOnlineStore, was RedisOnlineStore"):
        write_views(make_store("redis"), {"fees": frame})


def test_of_writers_in_a_race_the_newest_row_stays(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(4)]

    def write(store: FeatureStore, first: int) -> None:
        for number in range(first, 200, 4):
            store.write_to_online_store("fees", rows(seconds=-200 + number, taker=float(number)))

    writers = [threading.Thread(target=write, args=(store, 3 - first)) for first, store in enumerate(stores)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert taker(stores[0]) == 199.0


def test_asynchronous_reads_and_writes_are_the_same(make_store: MakeStore) -> None:
    store = make_store()

    async def both() -> dict[str, Any]:
        await store.push_async("venue_push", rows(taker=4.0), to=PushMode.ONLINE)
        await store.push_async("venue_push", rows(seconds=-5, taker=5.0), to=PushMode.ONLINE)
        found = await store.get_online_features_async(REFERENCES, [{"venue": "bybit"}])
        return dict(found.to_dict())

    assert asyncio.run(both())["taker"] == [4.0]


def test_a_server_that_forgot_its_scripts_is_told_them_again(make_store: MakeStore) -> None:
    store = make_store()
    store.push("venue_push", rows(seconds=-1, taker=1.0))
    with redis.Redis(HOST, PORT) as client:
        client.script_flush()
    store.push("venue_push", rows(taker=2.0))
    assert taker(store) == 2.0


def test_keys_expire_where_that_is_asked_for(make_store: MakeStore) -> None:
    store = make_store(key_ttl_seconds=500)
    store.push("venue_push", rows())
    with redis.Redis(HOST, PORT) as client:
        [key] = client.keys(f"*{store.project}")
        assert 0 < client.ttl(key) <= 500


def test_a_setting_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="skip_dedup"):
        AtomicRedisOnlineStoreConfig(skip_dedup=True)  # type: ignore[arg-type]
