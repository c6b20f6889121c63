"""What Feast's own writer and reader do, and ours does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from feast import FeatureStore
from feast.infra.online_stores.redis import RedisOnlineStore

from market.clock import SECOND_NS
from storage.online.store import OnlineStore
from tests.online_rows import TWO_VIEWS, B, feature_set, online_row, same_value
from tests.online_servers import Server
from tests.pushed_rows import Repository, feast_online, feast_status, push


class WatchedPool(redis.ConnectionPool):
    """Calls back each time a round trip has been answered: the moment another process may act."""

    after_answers: Callable[[], None]

    def release(self, connection: redis.Connection) -> None:  # type: ignore[override]  # as in redis-py's own pool
        super().release(connection)
        self.after_answers()


def watched_client(server: Server, after_answers: Callable[[], None]) -> redis.Redis:
    plain = redis.Redis(**server.options, socket_timeout=10).connection_pool
    pool = WatchedPool(plain.connection_class, **plain.connection_kwargs)
    pool.after_answers = after_answers
    return redis.Redis(connection_pool=pool)


def watch(repo: FeatureStore, client: redis.Redis) -> None:
    """Let Feast's own online store use the watched client."""
    online_store = repo._get_provider().online_store
    assert isinstance(online_store, RedisOnlineStore)
    online_store._client = client


@pytest.mark.parametrize("writer", ["feast", "ours"])
def test_a_newer_row_written_in_the_middle_of_an_older_write_is_lost_by_feast_alone(
    writer: str, server: Server, project: str, repository: Repository, store: OnlineStore
) -> None:
    views = {"price": TWO_VIEWS["price"]}
    columns = feature_set(views)
    older = online_row(same_value(1.0, columns), columns=columns)
    newer = online_row(same_value(2.0, columns), columns=columns, row_ns=B + SECOND_NS)
    repo, other = repository(views), repository(views)
    newer_writes = [lambda: push(other, [newer]) if writer == "feast" else store.write([newer], now_ns=B)]

    def let_the_newer_in() -> None:
        if newer_writes:
            newer_writes.pop()()

    with watched_client(server, let_the_newer_in) as slow:
        if writer == "feast":
            watch(repo, slow)
            push(repo, [older])
        else:
            OnlineStore(slow, project=project).write([older], now_ns=B)
    assert not newer_writes
    assert feast_online(other, views)["mid_price"] == {"feast": 1.0, "ours": 2.0}[writer]


@pytest.mark.parametrize("writer", ["feast", "ours"])
def test_a_reader_between_the_steps_of_one_write_sees_torn_views_by_feast_alone(
    writer: str, server: Server, project: str, repository: Repository, store: OnlineStore
) -> None:
    repo, reader = repository(TWO_VIEWS), repository(TWO_VIEWS)
    before = online_row(same_value(1.0))
    after = online_row(same_value(2.0), row_ns=B + SECOND_NS)
    store.write([before], now_ns=B)
    seen = []

    def read() -> None:
        values = feast_online(reader, TWO_VIEWS)
        seen.append((values["mid_price"], values["vwap_3s"]))

    with watched_client(server, read) as slow:
        if writer == "feast":
            watch(repo, slow)
            push(repo, [after])
        else:
            OnlineStore(slow, project=project).write([after], now_ns=B)
    torn = [pair for pair in seen if pair[0] != pair[1]]
    assert seen[-1] == (2.0, 2.0)
    assert bool(torn) == (writer == "feast")


def test_one_row_dated_2099_blocks_a_key_of_feast_and_none_of_ours(
    store: OnlineStore, repository: Repository, project: str
) -> None:
    in_2099 = online_row(same_value(2099.0), row_ns=4_070_908_800 * SECOND_NS)
    row = online_row(same_value(1.0))
    repo = repository(TWO_VIEWS, project=f"{project}_feast")
    push(repo, [in_2099])
    push(repo, [row])
    assert feast_online(repo, TWO_VIEWS) == same_value(2099.0)

    assert store.write([in_2099], now_ns=B).refused == 1
    assert store.write([row], now_ns=B).written == 1
    assert feast_online(repository(TWO_VIEWS), TWO_VIEWS) == same_value(1.0)


def test_feast_calls_an_expired_and_an_unknown_value_present_and_ours_tells_age_and_absence(
    store: OnlineStore, repository: Repository
) -> None:
    years_old_ns = 1_600_000_000 * SECOND_NS
    repo = repository(TWO_VIEWS)
    push(repo, [online_row(same_value(1.0), row_ns=years_old_ns)])
    assert feast_status(repo, "price", "mid_price", "BTCUSDT") == ("PRESENT", 1.0)
    assert feast_status(repo, "price", "mid_price", "NOSUCH") == ("PRESENT", None)

    store.write([online_row(same_value(1.0), row_ns=years_old_ns)], now_ns=B)
    known, unknown = store.read(["BTCUSDT", "NOSUCH"])
    assert known is not None
    assert known.row_ns == years_old_ns
    assert unknown is None
