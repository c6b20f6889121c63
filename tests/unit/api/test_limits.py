"""What is too long, too slow or too often is refused at once, by the one shape, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.types import Message

from api.access import Door
from api.errors import install_error_handlers
from api.limits import MOST_LARGE, Limits, RequestLimits

LIMITS = RequestLimits(body_bytes=100, predictions_bytes=1000, reads_per_s=4, changes_per_s=2, body_s=0.05)


class Time:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def app(time: Time) -> FastAPI:
    made = FastAPI()
    install_error_handlers(made)
    made.add_middleware(Limits, limits=LIMITS, caller_header="X-API-Key", now_s=time)
    made.add_middleware(Door, api_key=None, make_trace_id=lambda: "made", now_s=lambda: 0)

    async def length(request: Request) -> int:
        return len(await request.body())

    made.post("/model/evaluate")(length)
    made.post("/small")(length)
    made.get("/read")(length)
    return made


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as opened:
        yield opened


def test_each_route_takes_its_own_length_and_not_a_byte_more(client: TestClient) -> None:
    assert client.post("/small", content=b"x" * 100).json() == 100
    assert client.post("/model/evaluate", content=b"x" * 1000).json() == 1000
    answer = client.post("/small", content=b"x" * 101)
    assert answer.status_code == 413
    assert answer.json() == {
        "error": "BodyTooLarge",
        "message": "body: must be at most 100 bytes for /small, was 101",
        "trace_id": "made",
    }
    assert answer.headers["Connection"] == "close"


def test_a_body_that_does_not_say_how_long_it_is_is_cut_at_the_limit(client: TestClient) -> None:
    pieces = 0

    def endless() -> Iterator[bytes]:
        nonlocal pieces
        for _ in range(1000):
            pieces += 1
            yield b"x" * 10

    answer = client.post("/small", content=endless())
    assert answer.status_code == 413
    assert answer.json()["message"].endswith("was more")


async def asked(app: FastAPI, path: str, messages: list[Message]) -> list[Message]:
    """What one request is answered whose last message never comes."""
    sent: list[Message] = []
    waiting = asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await waiting.wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return sent


def test_a_body_that_stops_half_way_is_answered_and_its_connection_closed(app: FastAPI) -> None:
    half: Message = {"type": "http.request", "body": b"x" * 10, "more_body": True}
    sent = asyncio.run(asked(app, "/small", [half]))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_caller_that_leaves_half_way_is_not_answered(app: FastAPI) -> None:
    assert asyncio.run(asked(app, "/small", [{"type": "http.disconnect"}])) == []


def test_only_a_few_large_bodies_are_held_at_a_time(app: FastAPI) -> None:
    async def together() -> list[int]:
        half: Message = {"type": "http.request", "body": b"x", "more_body": True}
        answers = await asyncio.gather(*(asked(app, "/model/evaluate", [half]) for _ in range(MOST_LARGE + 1)))
        return sorted(answer[0]["status"] for answer in answers)

    assert asyncio.run(together()) == [*[408] * MOST_LARGE, 429]


def test_a_caller_has_a_rate_of_its_own_and_is_told_when_to_come_back(client: TestClient, time: Time) -> None:
    statuses = [client.post("/small", headers={"X-API-Key": "one"}).status_code for _ in range(5)]
    assert statuses == [200] * 4 + [429]
    refused = client.post("/small", headers={"X-API-Key": "one"})
    assert refused.json()["message"] == "requests: must be at most 2 a second per caller, was more"
    assert refused.headers["Retry-After"] == "1"
    assert client.post("/small", headers={"X-API-Key": "other"}).status_code == 200
    assert client.get("/read", headers={"X-API-Key": "one"}).status_code == 200
    time.now_s += 0.5
    assert [client.post("/small", headers={"X-API-Key": "one"}).status_code for _ in range(2)] == [200, 429]
