"""Publishing: an interval's rows in order, the latest alone while the broker is away, and the bus inside a process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ingestion.pipeline.served_rows import ServedRows
from ingestion.rabbitmq.bus import BusMessage, ProcessBus
from ingestion.sinks.publishing import MOST_AT_ONCE, LivePublisher
from market.clock import SECOND_NS, ManualClock, parse_iso_ns
from market.errors import Conflict, StoreUnavailable
from tests.queue_contracts import broken_rules
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

B = parse_iso_ns("2026-01-05T12:00:00")
SET = FeatureSet("1.0.0", ("known", "unknown"), (FeatureGroup("price", "p", ("known", "unknown"), (0, 1)),), "f00d")


def served(*seconds: float, late_s: int = 0, trace_id: str | None = "t") -> ServedRows:
    row_ns = np.array([B + round(second * SECOND_NS) for second in seconds], np.int64)
    values = np.array([[0.1 + second, np.nan] for second in seconds])
    reasons = np.array([[0, 1]] * len(seconds), np.int8)
    rows = FeatureRows("BTCUSDT", SET, row_ns, values, np.zeros((len(seconds), 1), np.int8), reasons)
    return ServedRows(rows, row_ns + late_s * SECOND_NS, trace_id=trace_id)


class AwayBroker:
    """Takes nothing until it is back."""

    def __init__(self) -> None:
        self.is_away = True
        self.refused = asyncio.Event()
        self.taken: list[tuple[dict[str, Any], Mapping[str, Any]]] = []
        self.calls: list[int] = []

    async def publish(self, messages: Sequence[BusMessage]) -> None:
        assert all(message.key == message.headers["interval"] for message in messages)
        if self.is_away:
            self.refused.set()
            raise StoreUnavailable("broker: no answer")
        self.calls.append(len(messages))
        self.taken += [(json.loads(message.body), message.headers) for message in messages]

    async def close(self) -> None:
        """Nothing is held."""


def published(*batches: ServedRows, has_grid: bool = False) -> list[tuple[dict[str, Any], Mapping[str, Any]]]:
    bus = ProcessBus()
    clock = ManualClock(B + 5 * SECOND_NS)
    publisher = LivePublisher(bus, clock=clock, make_id=lambda: "made", has_grid=has_grid)

    async def run() -> None:
        for batch in batches:
            publisher.write([batch])
        await publisher.finish()
        await publisher.run()

    asyncio.run(run())
    found = []
    while (message := bus.take()) is not None:
        assert message.key == message.headers["interval"]
        found.append((json.loads(message.body), message.headers))
    return found


def test_a_message_and_its_headers_are_as_their_published_schemas_say() -> None:
    messages = published(served(0, 0.1, 1, late_s=2), has_grid=True)
    assert {headers["interval"] for _, headers in messages} == {"1s", "3s", "15s", "1m", "grid"}
    for vector, headers in messages:
        assert broken_rules("features.live", vector) == []
        assert broken_rules("features.live.headers", headers) == []
    vector, headers = messages[0]
    assert broken_rules("features.live", {**vector, "age_ms": "1"}) == ["'1' is not of type 'integer'"]
    assert len(broken_rules("features.live.headers", {**headers, "interval": "2s", "new": 1})) == 2


def test_a_row_is_a_message_of_each_interval_that_it_ends() -> None:
    intervals = [(vector["timestamp"][-3:-1], headers["interval"]) for vector, headers in published(served(0, 1, 3))]
    assert intervals == [
        ("00", "1s"),
        ("00", "3s"),
        ("00", "15s"),
        ("00", "1m"),
        ("01", "1s"),
        ("03", "1s"),
        ("03", "3s"),
    ]


def test_rows_between_seconds_are_messages_of_the_grid_where_that_is_asked_for() -> None:
    rows = served(0.9, 1, 1.1)
    assert [headers["interval"] for _, headers in published(rows)] == ["1s"]
    asked = published(rows, has_grid=True)
    assert [(headers["row_ns"] - B, headers["interval"]) for _, headers in asked] == [
        (9 * SECOND_NS // 10, "grid"),
        (SECOND_NS, "1s"),
        (SECOND_NS, "grid"),
        (11 * SECOND_NS // 10, "grid"),
    ]
    assert asked[0][0]["timestamp"] == "2026-01-05T12:00:00.900000Z"


def test_a_document_has_every_known_value_and_a_reason_for_each_unknown_one() -> None:
    [(vector, headers)] = published(served(1))
    assert vector == {
        "timestamp": "2026-01-05T12:00:01Z",
        "symbol": "BTCUSDT",
        "features": {"known": 1.1},
        "missing": {"unknown": "WARMUP"},
        "groups": {"price": "OK"},
        "feature_registry_version": "1.0.0",
        "feature_set": "f00d",
        "age_ms": 4000,
        "trace_id": "t",
    }
    row_ns = B + SECOND_NS
    assert headers == {
        "interval": "1s",
        "symbol": "BTCUSDT",
        "row_ns": row_ns,
        "available_ns": row_ns,
        "late": False,
        "fence": 0,
    }


def test_a_row_that_could_be_read_more_than_a_second_after_its_time_is_late() -> None:
    [(_, headers)] = published(served(1, late_s=2))
    assert headers["late"] is True


def test_a_row_without_a_traced_message_gets_a_trace_id_of_its_own() -> None:
    [(vector, _)] = published(served(1, trace_id=None))
    assert vector["trace_id"] == "made"


def test_while_the_broker_is_away_the_latest_row_of_each_interval_waits_alone() -> None:
    broker = AwayBroker()
    publisher = LivePublisher(broker, clock=ManualClock(B), make_id=lambda: "made")

    async def run() -> None:
        running = asyncio.create_task(publisher.run())
        publisher.write([served(1)])
        await asyncio.wait_for(broker.refused.wait(), 10)
        for second in range(2, 60):
            publisher.write([served(second)])
        assert publisher.waiting == 3
        broker.is_away = False
        await publisher.finish()
        await asyncio.wait_for(running, 10)

    asyncio.run(run())
    assert sorted((headers["interval"], vector["timestamp"][-3:-1]) for vector, headers in broker.taken) == [
        ("15s", "45"),
        ("1s", "59"),
        ("3s", "57"),
    ]
    assert publisher.outages == 1


def test_a_full_bus_loses_its_oldest_message() -> None:
    bus = ProcessBus(messages=2)

    async def fill() -> None:
        await bus.publish([BusMessage("1s", b"%d" % number, {}) for number in range(3)])

    asyncio.run(fill())
    assert [message.body for message in (bus.take(), bus.take()) if message is not None] == [b"1", b"2"]
    assert bus.take() is None


def test_what_waits_is_published_together_in_order_and_a_bounded_number_at_once() -> None:
    broker = AwayBroker()
    broker.is_away = False
    publisher = LivePublisher(broker, clock=ManualClock(B), make_id=lambda: "made", has_grid=True)

    async def run() -> None:
        publisher.write([served(*range(1, MOST_AT_ONCE))])
        await publisher.finish()
        await publisher.run()

    asyncio.run(run())
    assert max(broker.calls) == MOST_AT_ONCE
    assert len(broker.calls) == -(-sum(broker.calls) // MOST_AT_ONCE)
    assert publisher.published == len(broker.taken)
    times = [headers["row_ns"] for _, headers in broker.taken]
    assert times == sorted(times)


def test_of_rows_that_an_outage_took_back_the_newest_of_each_interval_is_published() -> None:
    broker = AwayBroker()
    publisher = LivePublisher(broker, clock=ManualClock(B), make_id=lambda: "made")

    async def run() -> None:
        publisher.write([served(1, 2, 3, 4)])
        running = asyncio.create_task(publisher.run())
        await asyncio.wait_for(broker.refused.wait(), 10)
        broker.is_away = False
        await publisher.finish()
        await asyncio.wait_for(running, 10)

    asyncio.run(run())
    assert [(headers["interval"], vector["timestamp"][-3:-1]) for vector, headers in broker.taken] == [
        ("1s", "04"),
        ("3s", "03"),
    ]
    assert publisher.replaced == 3


def test_the_end_waits_until_what_came_before_it_is_published() -> None:
    broker = AwayBroker()
    broker.is_away = False
    publisher = LivePublisher(broker, clock=ManualClock(B), make_id=lambda: "made")

    async def run() -> None:
        running = asyncio.create_task(publisher.run())
        await asyncio.sleep(0)
        publisher.write([served(*range(1, 60))])
        await publisher.finish()
        assert publisher.waiting == 0
        assert running.done()

    asyncio.run(run())
    assert len([headers for _, headers in broker.taken if headers["interval"] == "1s"]) == 59


class Fences:
    """Leases that may be lost, and slept through."""

    def __init__(self) -> None:
        self.fences = {"BTCUSDT": 7}
        self.is_asleep = False
        self.is_lost = False
        self.checked_by: set[str] = set()

    def is_unsure(self) -> bool:
        return self.is_asleep

    def check(self) -> None:
        self.checked_by.add(threading.current_thread().name)
        self.is_asleep = False
        if self.is_lost:
            raise Conflict("leases: must stay, were taken over")


def test_a_leased_symbols_rows_have_its_fence_and_none_is_published_once_it_is_lost() -> None:
    bus, fences = ProcessBus(), Fences()
    publisher = LivePublisher(bus, clock=ManualClock(B), make_id=lambda: "made", fencing=fences)

    async def run(second: int) -> None:
        publisher.write([served(second)])
        await publisher.finish()
        await publisher.run()

    asyncio.run(run(1))
    assert (message := bus.take()) is not None
    assert message.headers["fence"] == 7
    assert fences.checked_by == {threading.current_thread().name}
    # Asking may take a while: the event loop does not wait for it.
    fences.is_asleep = True
    asyncio.run(run(2))
    assert len(fences.checked_by) == 2
    assert bus.take() is not None
    fences.is_lost = True
    with pytest.raises(Conflict, match="taken over"):
        asyncio.run(run(4))
    assert bus.take() is None


@pytest.mark.parametrize("ends", [True, False], ids=["a store that answers", "a store that never ends"])
def test_the_online_store_goes_first_but_not_for_ever(*, ends: bool) -> None:
    published_before: list[int] = []

    async def run() -> None:
        broker = AwayBroker()
        broker.is_away = False

        def is_storing() -> bool:
            published_before.append(len(broker.taken))
            return not ends or len(published_before) < 3

        publisher = LivePublisher(broker, clock=ManualClock(B), make_id=lambda: "made", is_storing=is_storing)
        running = asyncio.create_task(publisher.run())
        await asyncio.sleep(0)
        publisher.write([served(1)])
        while publisher.published == 0 and not running.done():  # noqa: ASYNC110  # the publisher's own task
            await asyncio.sleep(0)
        await publisher.finish()
        await running
        assert len(broker.taken) == 1

    asyncio.run(run())
    assert published_before[:3] == [0, 0, 0]
