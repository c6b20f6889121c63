"""Notices of ended datasets keep their contract in the process and on a real RabbitMQ."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import aio_pika
import msgspec
import pytest

from ingestion.rabbitmq.connection import BrokerAddress
from ingestion.rabbitmq.notices import QueueNotices
from market.clock import SECOND_NS
from market.errors import StoreUnavailable
from storage.database.dataset_records import DatasetRecord
from tests.queue_contracts import broken_rules
from training_sets.builds.notices import DATASET_READY, MOST_KEPT, DatasetNotices, InProcessNotices, dataset_notice
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget

HOST = os.environ.get("RABBITMQ_HOST") or "127.0.0.1"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
REQUEST = DatasetRequest(
    ("BTCUSDT", "ETHUSDT"), TimeBased(default_periods(0, 100 * SECOND_NS)), (RegressionTarget(SECOND_NS),), "1.0.0"
)
READY = DatasetRecord(
    dataset_id="d1",
    symbols=REQUEST.symbols,
    request=msgspec.to_builtins(REQUEST),
    feature_registry_version="1.0.0",
    feature_set="f",
    created_at=NOON,
    updated_at=NOON,
    status="ready",
    splits_info={"folds": 1},
    train_records=3,
    validation_records=2,
    test_records=1,
    trace_id="t",
)
Read = Callable[[], list[dict[str, Any]]]


def amqp_url() -> str:
    return f"amqp://guest:guest@{HOST}:5672/"


@pytest.fixture(params=["in process", "rabbitmq"])
def notices(request: pytest.FixtureRequest) -> Iterator[tuple[DatasetNotices, Read]]:
    if request.param == "in process":
        kept = InProcessNotices()
        yield kept, lambda: [dict(each) for each in kept.sent]
        return
    queue = f"test.features.dataset.ready.{uuid4().hex}"

    async def read() -> list[dict[str, Any]]:
        async with await aio_pika.connect(amqp_url()) as connection:
            channel = await connection.channel()
            declared = await channel.declare_queue(queue, durable=True)
            found = []
            while (message := await declared.get(fail=False)) is not None:
                assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
                assert message.headers == {"X-Trace-Id": "t"}
                found.append(json.loads(message.body))
                await message.ack()
            return found

    async def remove() -> None:
        async with await aio_pika.connect(amqp_url()) as connection:
            await (await connection.channel()).queue_delete(queue)

    try:
        asyncio.run(read())
    except OSError:
        if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
            raise
        pytest.skip("no RabbitMQ server")
    try:
        yield QueueNotices(BrokerAddress(HOST, 5672, "guest", "guest"), queue), lambda: asyncio.run(read())
    finally:
        with suppress(OSError):
            asyncio.run(remove())


def test_a_notice_says_what_ended_and_where_its_files_are(notices: tuple[DatasetNotices, Read]) -> None:
    target, read = notices
    target.send(dataset_notice(READY))
    assert read() == [
        {
            "dataset_id": "d1",
            "symbol": "BTCUSDT",
            "symbols": ["BTCUSDT", "ETHUSDT"],
            "status": "ready",
            "splits_info": {"folds": 1},
            "train_records": 3,
            "validation_records": 2,
            "test_records": 1,
            "download_urls": {
                split: f"/dataset/d1/download?split={split}" for split in ("train", "validation", "test", "all")
            },
            "feature_registry_version": "1.0.0",
            "trace_id": "t",
        }
    ]


def test_a_notice_is_as_its_published_schema_says(notices: tuple[DatasetNotices, Read]) -> None:
    target, read = notices
    failed = replace(READY, status="failed", error_message="train period: must hold rows", splits_info=None)
    for record in (READY, replace(failed, train_records=None, validation_records=None, test_records=None)):
        target.send(dataset_notice(record))
    assert [broken_rules(DATASET_READY, notice) for notice in read()] == [[], []]
    assert broken_rules(DATASET_READY, dataset_notice(READY) | {"symbols": []}) == ["[] should be non-empty"]


def test_notices_come_in_order(notices: tuple[DatasetNotices, Read]) -> None:
    target, read = notices
    for number in range(3):
        target.send(dataset_notice(READY) | {"dataset_id": str(number)})
    assert [notice["dataset_id"] for notice in read()] == ["0", "1", "2"]


def test_a_failed_dataset_says_why_and_has_no_files() -> None:
    record = replace(READY, status="failed", error_message="train period: must hold rows")
    notice = dataset_notice(record)
    assert (notice["error_message"], notice["download_urls"]) == ("train period: must hold rows", {})


def test_the_process_keeps_the_last_notices_alone() -> None:
    kept = InProcessNotices()
    for number in range(MOST_KEPT + 5):
        kept.send({"dataset_id": number, "status": "ready"})
    assert [notice["dataset_id"] for notice in kept.sent] == list(range(5, MOST_KEPT + 5))


def test_a_broker_that_is_away_is_store_unavailable() -> None:
    away = QueueNotices(BrokerAddress("127.0.0.1", 1, "guest", "guest"), DATASET_READY)
    with pytest.raises(StoreUnavailable, match=r"queue features.dataset.ready: cannot publish"):
        away.send(dataset_notice(READY))
