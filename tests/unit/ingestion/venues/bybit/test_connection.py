"""When a connection to the exchange counts as dead: its silence, and not the time that the worker takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from websockets.asyncio.client import ClientConnection

from ingestion.venues.bybit.connection import BybitConnection, Received, Timings
from market.clock import ManualClock

SILENT_S = 0.05
DEADLINE_S = 30.0


class Socket:
    """Gives what the test puts in."""

    def __init__(self) -> None:
        self.bodies: asyncio.Queue[bytes] = asyncio.Queue()

    async def recv(self, *, decode: bool) -> bytes:
        assert not decode
        return await self.bodies.get()

    async def send(self, text: str) -> None:
        """Nobody answers."""

    async def close(self) -> None:
        """Nothing is held."""


def run(body: Callable[[Socket, BybitConnection], Awaitable[None]]) -> None:
    async def main() -> None:
        socket = Socket()
        connection = BybitConnection(
            cast("ClientConnection", socket), number=1, clock=ManualClock(0), timings=Timings(silent=SILENT_S)
        )
        await body(socket, connection)
        await connection.close()

    asyncio.run(main())


def test_a_connection_that_brings_nothing_more_ends_and_says_why() -> None:
    async def body(socket: Socket, connection: BybitConnection) -> None:
        taken = []

        async def take(_connection: BybitConnection, received: Received) -> None:
            taken.append(received.body)

        connection.start(take)
        for number in range(3):
            socket.bodies.put_nowait(str(number).encode())
        await asyncio.wait_for(connection.ended.wait(), DEADLINE_S)
        assert taken == [b"0", b"1", b"2"]
        assert connection.reason == "no message for 0.05 s"

    run(body)


def test_a_worker_that_has_no_room_is_no_silence_of_the_exchange() -> None:
    async def body(socket: Socket, connection: BybitConnection) -> None:
        has_room, is_asked = asyncio.Event(), asyncio.Event()

        async def take(_connection: BybitConnection, _received: Received) -> None:
            is_asked.set()
            await has_room.wait()

        connection.start(take)
        socket.bodies.put_nowait(b"0")
        await asyncio.wait_for(is_asked.wait(), DEADLINE_S)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.ended.wait(), 10 * SILENT_S)
        has_room.set()
        await asyncio.wait_for(connection.ended.wait(), DEADLINE_S)
        assert connection.reason == "no message for 0.05 s"

    run(body)
