"""A connection to RabbitMQ: the broker's address, how it is opened, and how its loss shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import aio_pika
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError

HEARTBEAT_S: Final = 10
CONNECT_TIMEOUT_S: Final = 5.0
# What aio-pika and aiormq raise on a connection or channel that is lost, refused or closed meanwhile.
LOST: Final = (*aio_pika.exceptions.CONNECTION_EXCEPTIONS, TimeoutError)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and as whom to speak to it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    virtual_host: str = "/"

    def __str__(self) -> str:
        return f"rabbitmq {self.host}:{self.port}"


async def connect(address: BrokerAddress) -> aio_pika.abc.AbstractConnection:
    """Raises one of LOST; one that names the virtual host where that is what the broker refuses."""
    try:
        return await aio_pika.connect(
            host=address.host,
            port=address.port,
            login=address.user,
            password=address.password,
            virtualhost=address.virtual_host,
            timeout=CONNECT_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
        )
    except InvalidFrameError as error:
        # aiormq expects the virtual host to be opened, and drops what the broker says when it closes instead.
        if "OpenOk" not in str(error) or "Connection.Close" not in str(error):
            raise
        host = address.virtual_host
        raise AMQPConnectionError(f"virtual host {host!r}: must exist and let {address.user} in, did not") from error


def is_lost(connection: aio_pika.abc.AbstractConnection) -> bool:
    """Whether the connection is gone; ``is_closed`` is true only of one that we closed ourselves."""
    return connection.is_closed or not connection.connected.is_set()
