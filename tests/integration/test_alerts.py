"""Alerting on real servers: what breaks is told on the queue with what to do, and that it is well again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from market.clock import MINUTE_NS, SECOND_NS, Clock, ManualClock, SystemClock, to_datetime
from runtime.alerting import ALERT_QUEUE, evaluate
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import metadata_store
from storage.database.alerts import AlertStore
from storage.database.leases import Leases
from storage.database.metadata import Metadata
from tests.broker import Broker
from tests.gateway import QUEUES
from tests.live import SYMBOLS
from tests.postgres_servers import run
from tests.redis_servers import RedisServer
from upkeep.alert_rules import RULES

MOST_MESSAGES = 5


@pytest.fixture
def metadata(live_servers: Servers) -> Iterator[Metadata]:
    run(live_servers.postgres_url, "TRUNCATE alerts, alert_silences, ingest_workers, upkeep_tasks")
    run(live_servers.postgres_url, "TRUNCATE freshness_minutes, data_quality_events")
    with metadata_store(live_servers) as found:
        yield found


@pytest.fixture
def alert_settings(ingest_settings: Settings, broker: Broker) -> Settings:
    broker.declare([ALERT_QUEUE])
    broker.take_all(ALERT_QUEUE)
    return ingest_settings.model_copy(update={"feature_service_alert_queue_messages": MOST_MESSAGES})


def notices(broker: Broker) -> list[tuple[str, str, str]]:
    told: list[dict[str, Any]] = [json.loads(body) for body, _ in broker.take_all(ALERT_QUEUE)]
    assert all(each["action"] == RULES[each["rule"]].action for each in told)
    return sorted((each["state"], each["rule"], each["subject"]) for each in told)


def judge(settings: Settings, servers: Servers, metadata: Metadata, clock: Clock) -> None:
    done = evaluate(settings, servers, metadata, clock, lambda _: None)
    assert done["problems"] == []


def test_what_breaks_is_told_with_what_to_do_and_so_is_its_end(
    alert_settings: Settings, live_servers: Servers, metadata: Metadata, broker: Broker, redis_server: RedisServer
) -> None:
    clock = ManualClock(SystemClock().now_ns())
    judge(alert_settings, live_servers, metadata, clock)
    assert notices(broker) == [], "a service that was never used has nothing to tell"

    redis_server.kill()
    queue = QUEUES["publicTrade"]
    broker.publish([(queue, b"{}")] * MOST_MESSAGES)
    with closing(Leases(live_servers.postgres_url)) as leases:
        symbols = {SYMBOLS[0]: {"last_recv_ns": clock.now_ns() - 61 * SECOND_NS}}
        leases.write_status("w", started_at=to_datetime(clock.now_ns()), status={"symbols": symbols})
    judge(alert_settings, live_servers, metadata, clock)
    away = ("online_store_away", "online_store")
    unread = ("queue_unread", queue)
    silent = ("symbol_silent", SYMBOLS[0])
    assert notices(broker) == sorted(("open", *each) for each in (away, unread, silent))
    judge(alert_settings, live_servers, metadata, clock)
    assert notices(broker) == []

    redis_server.start()
    broker.take_all(queue)
    clock.set(clock.now_ns() + MINUTE_NS)
    judge(alert_settings, live_servers, metadata, clock)
    assert {each[1:] for each in notices(broker) if each[0] == "closed"} >= {away, unread}
    with closing(AlertStore(live_servers.postgres_url)) as store:
        assert {alert.rule for alert in store.open_alerts(to_datetime(clock.now_ns()))}.isdisjoint({away[0], unread[0]})
