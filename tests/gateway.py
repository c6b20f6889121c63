"""A stand-in for ws-gateway: real recordings in its exact envelope, on a real broker, and its subscription API."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from ingestion.messages import TimedMessage
from ingestion.sources.played.recordings import read_recording
from market.clock import SECOND_NS, format_iso
from tests.broker import Broker

QUEUES = {
    "orderbook": "ws-gateway.orderbook",
    "publicTrade": "ws-gateway.trade",
    "tickers": "ws-gateway.ticker",
    "kline": "ws-gateway.kline",
}
EVENT_TYPES = {"orderbook": "orderbook", "publicTrade": "trade", "tickers": "ticker", "kline": "kline"}


@dataclass(frozen=True)
class Passed:
    """One envelope: its queue, when the gateway had it, and its bytes."""

    queue: str
    recv_ns: int
    body: bytes


def envelopes(messages: Sequence[TimedMessage], *, begin_ns: int, speed: float = 1.0) -> list[Passed]:
    """An envelope an element, in order, received ``speed`` times as fast from ``begin_ns`` on, whole microseconds."""
    first_ns = messages[0].recv_ns
    passed = []
    for message in messages:
        recv_ns = begin_ns + int((message.recv_ns - first_ns) / speed) // 1000 * 1000
        body = json.loads(message.body)
        kind = body["topic"].partition(".")[0]
        elements = body["data"] if isinstance(body["data"], list) else [body["data"]]
        for element in elements:
            payload = {**element, "topic": body["topic"]}
            if kind == "orderbook":
                payload["type"] = body["type"]
            envelope = {
                "event_id": str(uuid4()),
                "event_type": EVENT_TYPES[kind],
                "topic": body["topic"],
                "timestamp": format_iso(body["ts"] * 1_000_000).removesuffix("Z"),
                "received_at": format_iso(recv_ns).removesuffix("Z"),
                "payload": payload,
                "trace_id": uuid4().hex,
            }
            passed.append(Passed(QUEUES[kind], recv_ns, json.dumps(envelope).encode()))
    return passed


def recorded(path: Path, *, seconds: float | None = None) -> list[TimedMessage]:
    """The messages of a recording, of its first seconds."""
    messages = [message for message in read_recording(path) if isinstance(message, TimedMessage)]
    end_ns = None if seconds is None else messages[0].recv_ns + int(seconds * SECOND_NS)
    return [message for message in messages if end_ns is None or message.recv_ns < end_ns]


def publish_in_time(broker: Broker, passed: Sequence[Passed]) -> None:
    """Publish each envelope when its time has come."""

    def due() -> Iterator[tuple[str, bytes]]:
        pause = threading.Event()
        for each in passed:
            ahead_s = (each.recv_ns - time.time_ns()) / SECOND_NS
            if ahead_s > 0:
                pause.wait(ahead_s)
            yield each.queue, each.body

    broker.publish(due())


class SubscriptionApi:
    """The gateway's REST interface for subscriptions; ``calls`` are the requests it answered."""

    def __init__(self, api_key: str = "gateway-key") -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.failures: list[int] = []
        """Statuses that the next requests are answered with."""
        self.on_subscribed: Callable[[dict[str, Any]], object] = lambda _body: None
        """Called with the request of each new subscription, before it is answered."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.answer(self, "GET", {})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                api.answer(self, "POST", json.loads(self.rfile.read(length)))

            def do_DELETE(self) -> None:
                api.answer(self, "DELETE", {})

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.api_key = api_key
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler, method: str, body: dict[str, Any]) -> None:
        self.calls.append((method, request.path, body))
        status, document = self._answer(request, method, body)
        content = b"" if document is None else json.dumps(document).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _answer(self, request: BaseHTTPRequestHandler, method: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.failures:
            return self.failures.pop(0), {"detail": {"error": "asked to fail", "code": "TEST", "details": {}}}
        if request.headers.get("X-API-Key") != self.api_key:
            return 401, {"error": "no key", "code": "UNAUTHORIZED", "details": {}}
        if method == "POST":
            topic = f"{body['channel_type']}.{body['symbol']}"
            for known in self.subscriptions.values():
                if known["topic"] == topic and known["requesting_service"] == body["requesting_service"]:
                    return 200, known
            made = {**body, "id": str(uuid4()), "topic": topic, "is_active": True}
            made |= {"created_at": "2026-01-01T00:00:00", "updated_at": "2026-01-01T00:00:00", "last_event_at": None}
            self.subscriptions[made["id"]] = made
            self.on_subscribed(body)
            return 201, made
        if method == "GET":
            return 200, list(self.subscriptions.values())
        gone = self.subscriptions.pop(request.path.rpartition("/")[2], None)
        return (204, None) if gone is not None else (404, {"error": "unknown", "code": "NOT_FOUND", "details": {}})
