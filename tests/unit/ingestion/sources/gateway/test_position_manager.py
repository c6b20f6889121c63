"""The position manager over real HTTP: its answers become messages for the tape, a 404 says that nothing is held."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ingestion.decoding.positions import read_position_answer
from ingestion.source import Delivery
from ingestion.sources.gateway.position_manager import STREAM, PositionManager
from market.clock import SECOND_NS, ManualClock

B = 1_772_000_000 * SECOND_NS
HELD = {"size": "-0.5", "average_entry_price": "64000.25", "unrealized_pnl": "1", "other": [1, 2]}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.headers["X-API-Key"] != "key" or not self.path.endswith("?mode=one-way"):
            self.send_error(400)
        elif self.path.startswith("/api/v1/positions/BTCUSDT"):
            body = json.dumps(HELD).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def delivered(count: int, *, then_soon: str | None = None) -> list[Delivery]:
    """The first so many deliveries of a manager that is asked about two symbols."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    found: list[Delivery] = []

    async def run() -> None:
        enough = asyncio.Event()
        port = int(server.server_address[1])
        manager = PositionManager("127.0.0.1", port, ("BTCUSDT", "ETHUSDT"), ManualClock(B), api_key="key", poll_s=3600)

        async def deliver(delivery: Delivery) -> None:
            found.append(delivery)
            if then_soon is not None and len(found) == 2:
                manager.ask_soon(then_soon)
            if len(found) == count:
                enough.set()

        running = asyncio.create_task(manager.run(deliver))
        await asyncio.wait_for(enough.wait(), 20)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await manager.close()

    try:
        asyncio.run(run())
    finally:
        server.shutdown()
        server.server_close()
    return found


def test_an_answer_is_delivered_as_it_came_and_none_as_nothing_held() -> None:
    held, none = delivered(2)
    assert (held.stream, held.recv_ns, held.acknowledge) == (STREAM, B, None)
    position = read_position_answer(held.body).position
    assert position is not None
    assert (position.size, position.average_entry_price) == ("-0.5", "64000.25")
    assert read_position_answer(none.body).position is None


def test_a_position_that_changed_is_asked_for_at_once() -> None:
    assert read_position_answer(delivered(3, then_soon="BTCUSDT")[2].body).position is not None
