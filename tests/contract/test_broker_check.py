"""Whether RabbitMQ answers is told from its greeting alone."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from ingestion.rabbitmq.check import check_broker
from market.errors import StoreUnavailable

HOST = os.environ.get("RABBITMQ_HOST") or "127.0.0.1"
PORT = int(os.environ.get("RABBITMQ_PORT") or 5672)


def test_a_broker_that_answers_is_there() -> None:
    try:
        check_broker(HOST, PORT)
    except StoreUnavailable as error:
        if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
            raise
        pytest.skip(str(error))


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"rabbitmq 127.0.0.1:{port}: must answer"):
            check_broker("127.0.0.1", port)


@pytest.mark.parametrize("answer", [b"AMQP\x00\x00\x09\x01", b"-ERR unknown command\r\n", b""], ids=repr)
def test_another_server_is_no_broker(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(8)
                connection.sendall(answer)

        thread = threading.Thread(target=greet)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"rabbitmq 127.0.0.1:{port}: must speak AMQP 0-9-1"):
            check_broker("127.0.0.1", port)
        thread.join()
