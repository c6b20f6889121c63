"""Whether RabbitMQ answers and lets us in."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading

import pytest

from ingestion.rabbitmq.check import check_broker
from ingestion.rabbitmq.connection import BrokerAddress
from market.errors import StoreUnavailable
from tests.conftest import is_answering, missing

ADDRESS = BrokerAddress(
    os.environ.get("RABBITMQ_HOST") or "127.0.0.1", int(os.environ.get("RABBITMQ_PORT") or 5672), "guest", "guest"
)


def on_port(port: int) -> BrokerAddress:
    return BrokerAddress("127.0.0.1", port, "guest", "guest")


def test_a_broker_that_answers_is_there_for_an_account_that_it_knows() -> None:
    if not is_answering(ADDRESS.host, ADDRESS.port):
        missing(f"RabbitMQ at {ADDRESS.host}:{ADDRESS.port}")
    check_broker(ADDRESS)
    with pytest.raises(StoreUnavailable, match=rf"{ADDRESS}: cannot connect as stranger: .*ACCESS_REFUSED"):
        check_broker(dataclasses.replace(ADDRESS, user="stranger"))
    with pytest.raises(StoreUnavailable, match=r"virtual host 'of nobody': must exist and let guest in, did not$"):
        check_broker(dataclasses.replace(ADDRESS, virtual_host="of nobody"))


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"rabbitmq 127.0.0.1:{port}: cannot connect as guest: "):
            check_broker(on_port(port))


@pytest.mark.parametrize("answer", [b"AMQP\x00\x00\x09\x01", b"-ERR unknown command\r\n", b"", None], ids=repr)
def test_another_server_is_no_broker(answer: bytes | None) -> None:
    """None: it takes the connection and says nothing until the other end lets go."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(8)
                if answer is None:
                    connection.recv(8)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=greet)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"rabbitmq 127.0.0.1:{port}: cannot connect as guest: "):
            check_broker(on_port(port))
        thread.join()
