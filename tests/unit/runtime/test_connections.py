"""A connection whose request does not come is closed; one that is being answered is left alone."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from runtime.connections import patient_protocol

HEAD_S = 1.0
"""Longer than this process stands still on a busy machine between two of its steps."""
WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    """After longer than a head may take."""
    await asyncio.sleep(1.5 * HEAD_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(answer, http=patient_protocol(HEAD_S), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with socket.create_connection(listener.getsockname(), timeout=20) as opened:
            yield opened
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.mark.parametrize("sent", [b"", WHOLE[:-2]], ids=["nothing", "half a head"])
def test_a_connection_without_a_whole_head_is_closed(connection: socket.socket, sent: bytes) -> None:
    connection.sendall(sent)
    assert connection.recv(100) == b""


def test_an_answer_may_take_its_time_and_the_next_head_may_not(connection: socket.socket) -> None:
    connection.sendall(WHOLE)
    answered = b""
    while not answered.endswith(b"ok"):
        received = connection.recv(1000)
        assert received, f"must be answered, was closed after {answered!r}"
        answered += received
    assert answered.startswith(b"HTTP/1.1 200")
    connection.sendall(WHOLE[:-2])
    assert connection.recv(100) == b""
