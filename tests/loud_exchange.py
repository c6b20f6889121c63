"""An exchange as loud as all its symbols together, in a process of its own, for little of the machine's time.

1. The simulator's messages of one symbol are WebSocket frames before the first is sent; a symbol's own differ from them
   in its name alone, which is as long as the one that it replaces.
2. The handshake, subscriptions and pings are the library's; what is published is written to the transport as it is,
   the next message of all symbols of a connection in one piece. Connections take turns within a period.
3. A connection that is not read holds its own messages back, as TCP does, and goes on as fast as it is read: all are
   sent in the end, and how long that took is the rate that the reader carried.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import DAY_NS, SECOND_NS

PLACE: Final = b"XXXXUSDT"
"""Where a symbol's name goes."""
TOPICS: Final = 4
"""Of each symbol."""
HELD_BYTES: Final = 2**20
"""Of a connection before it waits for its reader."""
LOOK_AGAIN_S: Final = 0.005
HOUR_NS: Final = 3600 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent, and in which time. cpu_s: of the sending process meanwhile. late_s: of the latest message."""

    messages: int
    seconds: float
    cpu_s: float
    late_s: float


def symbols(count: int) -> list[str]:
    """So many names, each as long as PLACE."""
    return [f"S{number:03d}USDT" for number in range(count)]


class Exchange:
    """As the test sees it. url: where it listens."""

    def __init__(self, pipe: Connection, url: str) -> None:
        self.url = url
        self._pipe = pipe

    def is_done(self, timeout_s: float) -> bool:
        """Whether everything was sent, within so many seconds."""
        return self._pipe.poll(timeout_s)

    def sent(self) -> Sent:
        """Once it is done."""
        found: Sent = self._pipe.recv()
        return found


@contextmanager
def loud_exchange(names: Sequence[str], *, rate: float, seconds: float) -> Iterator[Exchange]:
    """Sends ``rate`` messages a second of each symbol for so long, once every symbol was subscribed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, tuple(names), rate, int(rate * seconds)), daemon=True)
    process.start()
    try:
        assert ours.poll(300), "it renders the messages first"
        yield Exchange(ours, ours.recv())
    finally:
        process.kill()
        process.join()


def _run(pipe: Connection, names: Sequence[str], rate: float, count: int) -> None:
    asyncio.run(_Server(names, _frames(count), rate).run(pipe))


def _frames(count: int) -> list[bytes]:
    # Candles of the past: the market is played faster than its own time.
    start_ns = time.time_ns() // HOUR_NS * HOUR_NS - HOUR_NS
    symbol = replace(DEFAULT_SYMBOLS[0], symbol=PLACE.decode())
    messages = simulate([symbol], seed=5, start_ns=start_ns, duration_ns=DAY_NS)
    bodies = [message.body for message in islice(messages, count)]
    # The book's snapshot first: for a row without it the worker would ask for another, which nobody sends here.
    book = next(at for at, body in enumerate(bodies) if body.startswith(b'{"topic":"orderbook'))
    return [_frame(body) for body in (bodies[book], *bodies[:book], *bodies[book + 1 :])]


def _frame(text: bytes) -> bytes:
    """A text frame from a server. Source: RFC 6455, 5.2."""
    if len(text) < 126:
        return bytes((0x81, len(text))) + text
    if len(text) < 2**16:
        return struct.pack(">BBH", 0x81, 126, len(text)) + text
    return struct.pack(">BBQ", 0x81, 127, len(text)) + text


class _Server:
    def __init__(self, names: Sequence[str], frames: Sequence[bytes], rate: float) -> None:
        self._count = len(names)
        self._frames = frames
        self._rate = rate
        self._connections: dict[ServerConnection, list[str]] = {}
        self._is_subscribed = asyncio.Event()
        self._late_s = 0.0

    async def run(self, pipe: Connection) -> None:
        async with serve(self._serve, "127.0.0.1", 0, ping_interval=None, compression=None) as server:
            pipe.send(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
            await self._is_subscribed.wait()
            begun_s, cpu_s = time.monotonic(), time.process_time()
            async with asyncio.TaskGroup() as tasks:
                for place, (connection, topics) in enumerate(self._connections.items()):
                    own = sorted({topic.rpartition(".")[2].encode() for topic in topics})
                    phase_s = place / len(self._connections) / self._rate
                    tasks.create_task(self._publish(connection, own, begun_s + phase_s))
            seconds, cpu_s = time.monotonic() - begun_s, time.process_time() - cpu_s
            pipe.send(Sent(len(self._frames) * self._count, seconds, cpu_s, self._late_s))
            await asyncio.Event().wait()

    async def _serve(self, connection: ServerConnection) -> None:
        topics = self._connections[connection] = []
        try:
            async for text in connection:
                request: dict[str, Any] = json.loads(text)
                asked = request.get("args", [])
                answer = {"success": True, "ret_msg": "", "req_id": request.get("req_id", ""), "op": request["op"]}
                await connection.send(json.dumps(answer))
                if request["op"] == "subscribe":
                    topics += asked
                    subscribed = len({topic for each in self._connections.values() for topic in each})
                    if subscribed == TOPICS * self._count:
                        self._is_subscribed.set()
        except ConnectionClosed:
            pass

    async def _publish(self, connection: ServerConnection, names: Sequence[bytes], begin_s: float) -> None:
        transport = connection.transport
        for number, frame in enumerate(self._frames):
            ahead_s = begin_s + number / self._rate - time.monotonic()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            await self._until_held(transport, HELD_BYTES)
            self._late_s = max(self._late_s, time.monotonic() - begin_s - number / self._rate)
            transport.write(b"".join([frame.replace(PLACE, name) for name in names]))
        await self._until_held(transport, 0)

    async def _until_held(self, transport: asyncio.WriteTransport, most_bytes: int) -> None:
        while transport.get_write_buffer_size() > most_bytes:  # no event tells
            assert not transport.is_closing(), "the worker must keep its connections"
            await asyncio.sleep(LOOK_AGAIN_S)
