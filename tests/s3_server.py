"""A real S3 server on a free port, moto's, and a proxy before it that fails as networks and stores do."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final, Literal
from uuid import uuid4

from storage.objects.path import ObjectPath, object_path
from tests.conftest import is_answering
from tests.killed_senders import KilledSenders
from tests.ports import free_port
from tests.waiting import eventually

Fault = Literal["refuse", "cut", "swallow", "lose_answer"]
FAULTS: Final[tuple[Fault, ...]] = ("refuse", "cut", "swallow", "lose_answer")
"""503 before it is done; the answer broken off in its body; acknowledged and not done; done and not answered."""
BUCKET: Final = "feature-service-tests"
SECRET: Final = "not-to-be-shown"  # noqa: S105  # of a server of tests
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "of-tests",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
}
KILLS: Final = int(os.environ.get("FEATURE_SERVICE_TEST_KILLS", "40"))
"""How many processes a soak kills."""
_FAULTS_OF: Final[dict[str, tuple[Fault, ...]]] = {
    "GET": ("refuse", "cut", "lose_answer"),
    "HEAD": ("refuse", "lose_answer"),
    "PUT": ("refuse", "swallow", "lose_answer"),
    "POST": ("refuse", "lose_answer"),
}
_HOP: Final = {"connection", "transfer-encoding", "content-length", "date", "server"}


@contextmanager
def running_s3() -> Iterator[int]:
    """The server's port while the block lasts."""
    port = free_port()
    log = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    try:
        eventually(lambda: is_answering("127.0.0.1", port), deadline_s=60)
        yield port
    finally:
        process.kill()
        process.wait()


def make_bucket(port: int, name: str) -> None:
    """Make a bucket, as who runs the store does beforehand."""
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/{name}")
    assert connection.getresponse().status == 200
    connection.close()


class FaultProxy:
    """Passes requests on to the server; asked to, fails the next ones that have a method and a part of a path.

    Requests go by ``AWS_ENDPOINT_URL``: ``endpoint``.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._lock = threading.Lock()
        self._planned: list[tuple[Fault, str, str]] = []
        self.drops_conditions = False
        """As a store that knows no If-Match and no If-None-Match."""
        self.requests: Counter[str] = Counter()
        """By method."""
        self.failed = 0
        self._share, self._drawn = 0.0, random.Random()
        self._left: tuple[int, str] | None = None
        self.refusal: tuple[int, str, str, str] | None = None
        """Status, code and message of the answer to every request whose ``METHOD /path`` begins with the last."""
        self.kills: KilledSenders | None = None
        """Who dies of what request."""
        owner = self

        class Handler(_Handler):
            proxy = owner

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def fail(self, fault: Fault, method: str, within: str = "", *, times: int = 1) -> None:
        """Fail the next requests of this method whose path has ``within``."""
        with self._lock:
            self._planned += [(fault, method, within)] * times

    def fail_often(self, share: float, *, seed: int) -> None:
        """Fail this share of the requests, by faults that are drawn; 0 is none any more."""
        with self._lock:
            self._share, self._drawn = share, random.Random(seed)

    def heal(self) -> None:
        """Fail no more."""
        self.come_back()
        with self._lock:
            self._planned, self._share, self.drops_conditions = [], 0.0, False
            self.kills = self.refusal = None

    def go_away_after(self, count: int, method: str) -> None:
        """Refuse everything once so many requests of this method more have been done, until ``come_back``."""
        with self._lock:
            self._left = (count, method)

    def come_back(self) -> None:
        with self._lock:
            self._left = None

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            self.requests[method] += 1
            if self._left is not None:
                left, counted = self._left
                if left <= 0:
                    return "refuse"
                self._left = left - (method == counted), counted
            if method in _FAULTS_OF and self._drawn.random() < self._share:
                self.failed += 1
                return self._drawn.choice(_FAULTS_OF[method])
            for at, (fault, of_method, within) in enumerate(self._planned):
                if of_method == method and within in path:
                    del self._planned[at]
                    self.failed += 1
                    return fault
        return None

    @property
    def is_done(self) -> bool:
        """Whether every fault that was asked for has happened."""
        return not self._planned

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing of a client that was killed or gave up; what else goes wrong is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes, of which the second would wait 40 ms for an answer
    proxy: ClassVar[FaultProxy]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the library names it
        """Nothing: a test tells what it met."""

    def _pass(self) -> None:
        body = self._body()
        killing = None if self.proxy.kills is None else self.proxy.kills.of(self.command, self.path)
        if killing is not None:
            killing.carry_out(partial(self._forward, body))
            self._hang_up()
            return
        fault = self.proxy.take(self.command, self.path)
        if self.proxy.refusal is not None and f"{self.command} {self.path}".startswith(self.proxy.refusal[3]):
            status, code, message, _ = self.proxy.refusal
            key = CREDENTIALS["AWS_ACCESS_KEY_ID"]  # which stores repeat
            told = (
                f"<Error><Code>{code}</Code><Message>{message}</Message><AWSAccessKeyId>{key}</AWSAccessKeyId></Error>"
            )
            self._answer(status, told.encode(), {})
            return
        if fault == "refuse":
            self._answer(503, b"<Error><Code>SlowDown</Code></Error>", {})
            return
        if fault == "swallow":
            self._answer(200, b"", {"ETag": '"0123456789abcdef0123456789abcdef"'})
            return
        answer, content = self._forward(body)
        if fault == "lose_answer":
            self._hang_up()
            return
        self._answer(answer.status, content, _kept(answer), cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass  # noqa: N815  # as the library calls them

    def _forward(self, body: bytes, share: float = 1.0) -> tuple[HTTPResponse, bytes]:
        """What the server answers; of a share of the request it is nothing."""
        connection = HTTPConnection("127.0.0.1", self.proxy.target)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        if self.proxy.drops_conditions:
            headers = {name: value for name, value in headers.items() if not name.lower().startswith("if-")}
        sent = body[: int(len(body) * share)]
        try:
            connection.request(self.command, self.path, sent, headers | {"Content-Length": str(len(body))})
            if share < 1.0:
                return HTTPResponse(connection.sock), b""
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, content: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not (self.command == "HEAD" and "Content-Length" in headers):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)


def _kept(answer: HTTPResponse) -> dict[str, str]:
    kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
    length = answer.getheader("Content-Length")
    # Of a HEAD the length is that of what it asks about.
    return kept | ({"Content-Length": length} if answer._method == "HEAD" and length else {})  # type: ignore[attr-defined]


def endpoint_variables(endpoint: str) -> dict[str, str]:
    """What a process needs to be let in."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}


def new_object_place() -> ObjectPath:
    """The top of a store of its own in the bucket, prepared."""
    place = object_path(f"s3://{BUCKET}/{uuid4().hex}")
    place.prepare()
    return place
