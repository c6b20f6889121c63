"""A RabbitMQ node of the test's own: it can be stopped and started again without touching another one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import aio_pika

from ingestion.rabbitmq.connection import BrokerAddress
from tests.conftest import is_answering
from tests.ports import free_port

T = TypeVar("T")

START_DEADLINE_S = 180.0
GATEWAY_QUEUE: Mapping[str, Any] = {"x-message-ttl": 86_400_000, "x-max-length": 100_000, "x-overflow": "drop-head"}


class Broker:
    """One node on ports and in a folder of its own; durable queues outlive a restart."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="broker-"))
        self._name = f"test{os.getpid()}p{self.port}@localhost"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress("127.0.0.1", self.port, "guest", "guest")

    def start(self) -> None:
        (self._folder / "plugins").write_text("[rabbitmq_consistent_hash_exchange].\n")
        (self._folder / "rabbitmq.conf").write_text("disk_free_limit.absolute = 50MB\n")
        environment = {
            **os.environ,
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "ERL_CRASH_DUMP": str(self._folder / "crash"),
            "HOME": str(self._folder),
        }
        # Debian's command on PATH changes to another account; what it runs then does not.
        executable = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")
        assert executable is not None
        log = (self._folder / "output").open("wb")
        self._process = subprocess.Popen(
            [executable], env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + START_DEADLINE_S
        pause = threading.Event()
        while not (is_answering("127.0.0.1", self.port) and self._answers()):
            pause.wait(0.05)
            assert self._process.poll() is None, (self._folder / "output").read_text()
            assert time.monotonic() < deadline, (self._folder / "output").read_text()

    def stop(self) -> None:
        """End the node as SIGTERM does: durable queues and persistent messages stay."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def declare(self, queues: Iterable[str]) -> None:
        """Declare queues as the gateway does."""

        async def declare(channel: aio_pika.abc.AbstractChannel) -> None:
            for queue in queues:
                await channel.declare_queue(queue, durable=True, arguments=dict(GATEWAY_QUEUE))

        self.do(declare)

    def publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish persistent messages, each given as queue and body."""

        async def publish(channel: aio_pika.abc.AbstractChannel) -> None:
            for queue, body in messages:
                await channel.default_exchange.publish(persistent(body), routing_key=queue)

        self.do(publish)

    def waiting(self, queue: str) -> int:
        """Messages that no consumer holds."""

        async def count(channel: aio_pika.abc.AbstractChannel) -> int:
            declared = (await channel.declare_queue(queue, passive=True)).declaration_result
            return declared.message_count or 0

        return self.do(count)

    def take_all(self, queue: str) -> list[tuple[bytes, Mapping[str, Any]]]:
        """Body and headers of every message of a queue, which is empty afterwards."""

        async def take(channel: aio_pika.abc.AbstractChannel) -> list[tuple[bytes, Mapping[str, Any]]]:
            found: list[tuple[bytes, Mapping[str, Any]]] = []
            opened = await channel.declare_queue(queue, passive=True)
            while (message := await opened.get(fail=False)) is not None:
                found.append((message.body, dict(message.headers)))
                await message.ack()
            return found

        return self.do(take)

    def do(self, action: Callable[[aio_pika.abc.AbstractChannel], Awaitable[T]]) -> T:
        async def run() -> T:
            address = self.address
            connection = await aio_pika.connect(
                host=address.host, port=address.port, login=address.user, password=address.password
            )
            async with connection:
                return await action(await connection.channel())

        return asyncio.run(run())

    def _answers(self) -> bool:
        async def nothing(_channel: aio_pika.abc.AbstractChannel) -> None:
            return None

        try:
            self.do(nothing)
        except (*aio_pika.exceptions.CONNECTION_EXCEPTIONS, TimeoutError):
            return False
        return True


def persistent(body: bytes) -> aio_pika.Message:
    return aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
