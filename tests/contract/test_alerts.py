"""Alerts open once, close once and are told once, on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aio_pika
import pytest

from ingestion.rabbitmq.connection import BrokerAddress
from ingestion.rabbitmq.notices import QueueNotices
from ingestion.rabbitmq.queue_lengths import queue_lengths
from ingestion.rabbitmq.writing import LIVE_QUEUE
from market.errors import StoreUnavailable
from runtime.alerting import ALERT_QUEUE
from storage.database.alerts import CLOSE_AFTER, AlertStore
from storage.database.figures import drop_figures
from tests.postgres_servers import empty_tables
from tests.queue_contracts import broken_rules
from upkeep.alert_rules import RULES, Finding
from upkeep.alerting import AlertCheck, evaluate_alerts

NOON = datetime(2026, 8, 9, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOST = os.environ.get("RABBITMQ_HOST") or "127.0.0.1"
BROKER = BrokerAddress(HOST, 5672, "guest", "guest")


@pytest.fixture
def store(url: str) -> Iterator[AlertStore]:
    empty_tables(url)
    with closing(AlertStore(url)) as found:
        yield found


class Listener:
    """A channel that can be away."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []
        self.is_away = False

    def send(self, notice: Mapping[str, Any]) -> None:
        if self.is_away:
            raise StoreUnavailable("listener: no answer")
        assert notice["action"] == RULES[notice["rule"]].action
        self.heard.append((notice["state"], notice["rule"], notice["subject"]))


class Judging:
    """A service whose findings a test sets; time goes on as it says."""

    def __init__(self, store: AlertStore) -> None:
        self.store = store
        self.now = NOON
        self.found: list[Finding] = []
        self.error: StoreUnavailable | None = None
        self.listener = Listener()
        self.other = Listener()

    def __call__(self, *findings: Finding, after: timedelta = 15 * SECOND) -> Mapping[str, Any]:
        self.now += after
        self.found = list(findings)
        checks = [
            AlertCheck(("row_old", "book_gap"), self._look, away="online_store_away"),
            AlertCheck(("dead_letters",), self._look_in_vain),
        ]
        channels = {"queue": self.listener, "webhook": self.other}
        return evaluate_alerts(checks, self.store, channels, now=lambda: self.now, reach=lambda _: None)

    def _look(self) -> list[Finding]:
        if self.error is not None:
            raise self.error
        return self.found

    def _look_in_vain(self) -> list[Finding]:
        raise StoreUnavailable("dead letter: no answer")


def old(symbol: str) -> Finding:
    return Finding("row_old", symbol, f"{symbol}: newest row must be at most 30 s old, was 99")


def test_what_lasts_is_one_alert_told_once_and_its_end_is_told_once(store: AlertStore) -> None:
    judge = Judging(store)
    for _ in range(3):
        judge(old("BTCUSDT"))
    (alert,) = store.open_alerts(judge.now)
    assert (alert.severity, alert.opened_at, alert.seen_at) == ("critical", NOON + 15 * SECOND, judge.now)
    assert judge.listener.heard == judge.other.heard == [("open", "row_old", "BTCUSDT")]
    judge(after=CLOSE_AFTER - SECOND)
    assert store.open_alerts(judge.now), "what comes and goes is one alert"
    judge(after=SECOND)
    judge()
    assert store.open_alerts(judge.now) == []
    assert judge.listener.heard == [("open", "row_old", "BTCUSDT"), ("closed", "row_old", "BTCUSDT")]
    judge(old("BTCUSDT"))
    assert len(store.since(NOON, judge.now)) == 2


def test_a_rule_that_waits_opens_only_what_lasts(store: AlertStore) -> None:
    judge = Judging(store)
    gap = Finding("book_gap", "BTCUSDT", "broken")
    judge(gap)
    judge()
    assert judge.listener.heard == []
    judge(gap)
    judge(gap, after=RULES["book_gap"].after - SECOND)
    assert store.open_alerts(judge.now) == []
    judge(gap, after=SECOND)
    assert judge.listener.heard == [("open", "book_gap", "BTCUSDT")]


def test_what_could_not_be_looked_at_is_not_well_again(store: AlertStore) -> None:
    judge = Judging(store)
    judge(old("BTCUSDT"))
    judge.error = StoreUnavailable("redis: no answer")
    done = judge(after=10 * CLOSE_AFTER)
    rules = {alert.rule for alert in store.open_alerts(judge.now)}
    assert rules == {"row_old", "online_store_away"}
    assert done["problems"] == ["dead_letters: could not be checked: dead letter: no answer"]


def test_a_channel_that_was_away_is_told_later_and_only_of_what_it_does_not_know(store: AlertStore) -> None:
    judge = Judging(store)
    judge.other.is_away = True
    done = judge(old("BTCUSDT"), old("ETHUSDT"))
    assert done["told"] == {"queue": 2, "webhook": 0}
    assert "alerts: could not be sent to webhook: listener: no answer" in done["problems"]
    judge(old("BTCUSDT"), after=CLOSE_AFTER)
    judge.other.is_away = False
    judge(old("BTCUSDT"))
    # Of what began and ended meanwhile it is told nothing.
    assert judge.other.heard == [("open", "row_old", "BTCUSDT")]
    assert len(judge.listener.heard) == 3


def test_a_silence_hides_notices_until_it_ends(store: AlertStore) -> None:
    judge = Judging(store)
    store.silence(rule="row_old", subject="BTC*", until=NOON + timedelta(minutes=1), reason="known")
    judge(old("BTCUSDT"), old("ETHUSDT"))
    assert judge.listener.heard == [("open", "row_old", "ETHUSDT")]
    silenced = {alert.subject: alert.silenced_until for alert in store.open_alerts(judge.now)}
    assert silenced == {"BTCUSDT": NOON + timedelta(minutes=1), "ETHUSDT": None}
    judge(old("BTCUSDT"), old("ETHUSDT"), after=timedelta(minutes=1))
    assert judge.listener.heard[1:] == [("open", "row_old", "BTCUSDT")]
    store.silence(rule="*", subject="*", until=judge.now + timedelta(hours=1), reason="")
    judge(Finding("book_gap", "XRPUSDT", "broken"))
    judge(Finding("book_gap", "XRPUSDT", "broken"), after=timedelta(minutes=2))
    assert len(judge.listener.heard) == 4, "the ends of what was told are told, however silenced"


def test_closed_alerts_and_ended_silences_go_when_they_are_old_and_open_ones_stay(store: AlertStore, url: str) -> None:
    judge = Judging(store)
    judge(old("BTCUSDT"), old("ETHUSDT"))
    judge(old("ETHUSDT"), after=CLOSE_AFTER)
    store.silence(rule="*", subject="*", until=judge.now, reason="")
    dropped = drop_figures(url, judge.now + SECOND)
    assert (dropped["alerts"], dropped["alert_silences"]) == (1, 1)
    assert [alert.subject for alert in store.since(NOON, judge.now)] == ["ETHUSDT"]


def test_without_a_database_the_store_is_unavailable() -> None:
    with (
        closing(AlertStore("postgresql+psycopg://postgres@127.0.0.1:1/none")) as found,
        pytest.raises(StoreUnavailable),
    ):
        found.open_alerts(NOON)


@pytest.fixture
def queue() -> Iterator[str]:
    name = f"features.alerts.{uuid4().hex}"

    async def removed() -> None:
        async with await aio_pika.connect(f"amqp://guest:guest@{HOST}:5672/") as connection:
            await (await connection.channel()).queue_delete(name)

    yield name
    asyncio.run(removed())


def test_a_notice_is_on_the_queue_and_the_queue_says_that_nobody_reads_it(store: AlertStore, queue: str) -> None:
    judge = Judging(store)
    judge(old("BTCUSDT"))
    (alert,) = store.open_alerts(judge.now)
    QueueNotices(BROKER, queue, arguments=LIVE_QUEUE).send(alert.document())
    assert queue_lengths(BROKER, [queue, "no.such.queue"]) == {queue: (1, 0)}

    async def read() -> dict[str, Any]:
        async with await aio_pika.connect(f"amqp://guest:guest@{HOST}:5672/") as connection:
            channel = await connection.channel()
            message = await (await channel.get_queue(queue, ensure=False)).get(no_ack=True)
            found: dict[str, Any] = json.loads(message.body)
            return found

    notice = asyncio.run(read())
    assert notice == alert.document()
    assert broken_rules(ALERT_QUEUE, notice) == []


def test_a_broker_that_is_away_cannot_say_how_long_its_queues_are() -> None:
    with pytest.raises(StoreUnavailable, match="cannot read its queue lengths"):
        queue_lengths(BrokerAddress("127.0.0.1", 1, "guest", "guest"), ["any"])
