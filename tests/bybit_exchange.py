"""A stand-in for the exchange: a WebSocket server that speaks Bybit's v5 public protocol and publishes a recording.

It keeps the book and the ticker of every symbol, so that who subscribes begins with a snapshot as at the exchange.
"""

from __future__ import annotations

import copy
import json
from typing import Any, Final, Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

MOST_ARGUMENTS: Final = 10


class BybitExchange:
    """Serves while it is entered; ``publish`` brings one recorded message to everybody subscribed to its topic."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.subscriptions: dict[ServerConnection, list[str]] = {}
        self.requests: list[dict[str, Any]] = []
        self.muted: set[str] = set()
        """Topics whose next snapshot is not sent."""
        self.is_refusing = False
        """Whether connections end before they are subscribed."""
        self._held: dict[ServerConnection, list[dict[str, Any]]] = {}
        self._symbols = symbols
        self._books: dict[str, dict[str, Any]] = {}
        self._tickers: dict[str, dict[str, Any]] = {}

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/v5/public/linear"

    async def publish(self, message: dict[str, Any], *, is_lost: bool = False) -> int:
        """Send a message to its subscribers, or to nobody when it is lost; how many got it. State follows anyway."""
        topic = message["topic"]
        self._remember(message)
        sent = 0
        for connection, topics in list(self.subscriptions.items()):
            if topic in topics and not is_lost:
                sent += await self._send(connection, message)
        return sent

    def hold(self, connection: ServerConnection) -> None:
        """Let everything for a connection wait until ``release``, as a slow network does."""
        self._held[connection] = []

    async def release(self, connection: ServerConnection) -> None:
        for message in self._held.pop(connection):
            await self._send(connection, message)

    async def restart(self, symbol: str, ts: int) -> int:
        """Begin the symbol's book again with ``u`` = 1, as the exchange does when its service restarts."""
        [topic] = [topic for topic in self._books if topic.endswith(f".{symbol}")]
        book = self._books[topic]
        book["data"]["u"], book["ts"] = 1, ts
        return await self.publish({**copy.deepcopy(book), "type": "snapshot"})

    async def cut(self) -> None:
        """End every connection without a goodbye."""
        for connection in list(self.subscriptions):
            connection.transport.abort()
            await connection.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        if self.is_refusing:
            return
        self.subscriptions[connection] = []
        try:
            async for text in connection:
                await self._answer(connection, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            del self.subscriptions[connection]

    async def _answer(self, connection: ServerConnection, request: dict[str, Any]) -> None:
        self.requests.append(request)
        operation, topics = request["op"], request.get("args", [])
        answer = {"success": True, "ret_msg": "", "conn_id": "c", "req_id": request.get("req_id", ""), "op": operation}
        if operation == "ping":
            await self._send(connection, {**answer, "ret_msg": "pong"})
            return
        unknown = [topic for topic in topics if topic.rpartition(".")[2] not in self._symbols]
        if len(topics) > MOST_ARGUMENTS or unknown:
            await self._send(connection, {**answer, "success": False, "ret_msg": f"handler not found,topic:{unknown}"})
            return
        await self._send(connection, answer)
        for topic in topics:
            if operation == "unsubscribe":
                self.subscriptions[connection].remove(topic)
                continue
            self.subscriptions[connection].append(topic)
            snapshot = self._books.get(topic) or self._tickers.get(topic)
            if topic in self.muted:
                self.muted.discard(topic)
            elif snapshot is not None:
                await self._send(connection, snapshot)

    async def _send(self, connection: ServerConnection, message: dict[str, Any]) -> bool:
        if connection in self._held:
            self._held[connection].append(message)
            return False
        try:
            await connection.send(json.dumps(message, separators=(",", ":")))
        except ConnectionClosed:
            return False
        return True

    def _remember(self, message: dict[str, Any]) -> None:
        topic, kind = message["topic"], message.get("type")
        if topic.startswith("orderbook"):
            if kind == "snapshot":
                self._books[topic] = copy.deepcopy(message)
                return
            book = self._books[topic]
            for side in ("b", "a"):
                levels = dict(book["data"][side])
                levels.update(message["data"][side])
                kept = [[price, size] for price, size in levels.items() if float(size) > 0]
                book["data"][side] = sorted(kept, key=lambda level: float(level[0]), reverse=side == "b")
            book["data"]["u"], book["data"]["seq"], book["ts"] = (
                message["data"]["u"],
                message["data"]["seq"],
                message["ts"],
            )
        elif topic.startswith("tickers"):
            if kind == "snapshot":
                self._tickers[topic] = copy.deepcopy(message)
            else:
                self._tickers[topic]["data"].update(message["data"])
                self._tickers[topic]["ts"] = message["ts"]
