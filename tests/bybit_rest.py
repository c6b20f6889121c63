"""A stand-in for the exchange's REST interface: the order book as a list of its messages leaves it at a moment."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Book = dict[str, Any]


def book_after(messages: Iterable[Book]) -> Book:
    """The book that order book messages of one symbol (``s, b, a, u, seq, type``) leave, as REST answers with it."""
    sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    last: Book = {}
    for message in messages:
        for side, levels in sides.items():
            if message["type"] == "snapshot":
                levels.clear()
            levels.update(message[side])
        last = message
    shown = {side: [[px, size] for px, size in levels.items() if float(size) > 0] for side, levels in sides.items()}
    # Another depth's number: it must not be used.
    return {"s": last["s"], **shown, "ts": 1_772_000_000_000, "u": last["u"] + 1_000_000, "seq": last["seq"]}


class OrderBookRest:
    """Answers with what ``book`` gives for a symbol; ``asked`` are the requests, ``failures`` the next answers."""

    def __init__(self, book: Callable[[str], Book]) -> None:
        self.asked: list[dict[str, str]] = []
        self.failures: list[tuple[int, bytes]] = []
        rest = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                rest.asked.append(asked)
                status, content = rest.failures.pop(0) if rest.failures else (200, rest._answer(book(asked["symbol"])))
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, book: Book) -> bytes:
        return json.dumps({"retCode": 0, "retMsg": "OK", "result": book, "time": book["ts"]}).encode()
