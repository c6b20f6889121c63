"""HTTP: GET /features/latest and Feast's protocol with one worker, compared with Feast's own feature server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.measure import Figure, in_child, percentile
from benchmarks.offline import VERSION, whole_catalogue
from market.clock import SECOND_NS, SystemClock, floor_to
from runtime.servers import Servers, running_servers
from runtime.settings import load_settings
from runtime.wiring import online_store
from storage.online.vector import OnlineRow
from tests.ports import free_port
from transforms.rows import FeatureSet

SYMBOLS: Final = tuple(f"S{at:03}USDT" for at in range(200))
BATCHES: Final = (1, 20, 200)
"""Symbols of one request of Feast's protocol."""
KEY: Final = "bench"
_ROOT: Final = Path(__file__).resolve().parent.parent
_WARM_UP: Final = 200
_REQUESTS: Final = 2000
_FEAST_REQUESTS: Final = 300
_CONNECTIONS: Final = 8
_START_S: Final = 180
_STOP_S: Final = 60


def run(folder: Path) -> Iterator[Figure]:
    yield from in_child(_measure, folder)


def _measure(folder: Path) -> list[Figure]:
    ours_port, feasts_port = free_port(), free_port()
    data = folder / "data"
    environment = {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "FEATURE_SERVICE_PORT": str(ours_port),
        "FEATURE_SERVICE_API_KEY": KEY,
        # Both use the servers that ours starts.
        **dict.fromkeys(("REDIS_HOST", "POSTGRES_HOST", "RABBITMQ_HOST"), ""),
    }
    api = ["-c", "from runtime.cli import main; main()", "run", "--roles", "api", "--data", str(data)]
    with ExitStack() as stack:
        stack.enter_context(_python(*api, environment=environment))
        _wait_for(ours_port)
        feast = ["-m", "benchmarks.feast_server", str(data), str(feasts_port)]
        stack.enter_context(_python(*feast, environment=environment))
        _wait_for(feasts_port)
        settings = load_settings({"FEATURE_SERVICE_DATA_PATH": str(data)}, env_file=None)
        servers = stack.enter_context(running_servers(settings))
        chosen = whole_catalogue()
        _write_rows(servers, chosen)
        ours = [_request("GET", f"/features/latest?symbol={name}", b"") for name in SYMBOLS]
        body = b'{"feature_service": "features_v%s", "entities": {"symbol": ["%s"]}}'
        underscored = VERSION.replace(".", "_").encode()
        feasts = [_request("POST", "/get-online-features", body % (underscored, name.encode())) for name in SYMBOLS]
        asyncio.run(_ask(ours_port, ours, _WARM_UP, 1))
        asyncio.run(_ask(feasts_port, feasts, 20, 1))
        alone, feast_alone = [], []
        for _ in range(5):  # in turn: the machine's load is the same for both
            alone += asyncio.run(_ask(ours_port, ours, _REQUESTS // 5, 1))[0]
            feast_alone += asyncio.run(_ask(feasts_port, feasts, _FEAST_REQUESTS // 5, 1))[0]
        many, seconds = asyncio.run(_ask(ours_port, ours, _REQUESTS, _CONNECTIONS))
        feast_many, feast_seconds = asyncio.run(_ask(feasts_port, feasts, _FEAST_REQUESTS, _CONNECTIONS))
        write = partial(_write_rows, servers, chosen)
        of_protocol = list(_protocol_figures(ours_port, feasts_port, underscored, write))
    details = {"features": len(chosen.columns), "requests": _REQUESTS, "symbols": len(SYMBOLS)}
    return [
        *of_protocol,
        *(
            Figure(
                f"http: GET /features/latest, p{percent}",
                percentile(alone, percent) * 1e3,
                "ms",
                "lower",
                yardstick=f"Feast's feature server, p{percent}",
                yardstick_value=percentile(feast_alone, percent) * 1e3,
                goal=goal,
                required=required,
                details=details,
            )
            for percent, goal, required in ((50, "<= 1.5", "-"), (95, "-", "< 10"), (99, "<= 4", "-"))
        ),
        Figure(
            f"http: GET /features/latest, {_CONNECTIONS} connections",
            len(many) / seconds,
            "requests/s",
            "higher",
            yardstick="Feast's feature server",
            yardstick_value=len(feast_many) / feast_seconds,
            goal=">= 1000",
            details={**details, "p99_ms": percentile(many, 99) * 1e3},
        ),
    ]


def _write_rows(servers: Servers, chosen: FeatureSet) -> None:
    """A row of now of every symbol: an older one is soon past its time to live."""
    with closing(online_store(servers)) as store:
        now_ns = SystemClock().now_ns()
        values = np.random.default_rng(0).normal(size=len(chosen.columns))
        status = np.zeros(len(chosen.groups), np.int8)
        row_ns = floor_to(now_ns, SECOND_NS)
        store.write([OnlineRow(name, chosen, row_ns, now_ns, values, status, {}) for name in SYMBOLS], now_ns=now_ns)


def _protocol_figures(ours_port: int, feasts_port: int, version: bytes, write: Callable[[], None]) -> Iterator[Figure]:
    """The same bytes to both servers: every feature of so many symbols, one request after the other, in turn."""
    for count in BATCHES:
        symbols = b",".join(b'"%s"' % name.encode() for name in SYMBOLS[:count])
        body = b'{"feature_service": "features_v%s", "entities": {"symbol": [%s]}}' % (version, symbols)
        request = [_request("POST", "/get-online-features", body)]
        feast_requests = max(10, _FEAST_REQUESTS // 3 // count)
        asyncio.run(_ask(ours_port, request, 20, 1))
        asyncio.run(_ask(feasts_port, request, 3, 1))
        ours, feasts = [], []
        for _ in range(5):
            write()
            ours += asyncio.run(_ask(ours_port, request, 60, 1))[0]
            feasts += asyncio.run(_ask(feasts_port, request, -(-feast_requests // 5), 1))[0]
        for percent in (50, 99):
            yield Figure(
                f"http: POST /get-online-features, {count} symbols, p{percent}",
                percentile(ours, percent) * 1e3,
                "ms",
                "lower",
                yardstick=f"Feast's feature server, p{percent}",
                yardstick_value=percentile(feasts, percent) * 1e3,
                goal="<= 10" if (count, percent) == (200, 50) else "-",
            )
        yield Figure(
            f"http: POST /get-online-features, {count} symbols",
            len(ours) / sum(ours),
            "requests/s",
            "higher",
            yardstick="Feast's feature server",
            yardstick_value=len(feasts) / sum(feasts),
            goal=">= 15 times",
            details={"requests": len(ours), "feasts_requests": len(feasts)},
        )


def _request(method: str, path: str, body: bytes) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _ask(port: int, requests: list[bytes], count: int, connections: int) -> tuple[list[float], float]:
    """Seconds of each request and of all of them, asked over so many connections, each waiting for its answer.

    A client of a few lines: one that does more would be measured too, on the same two cores.
    """
    times: list[float] = []

    async def one(at: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(at, count, connections):
            began = time.perf_counter()
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            times.append(time.perf_counter() - began)
            assert head.startswith(b"HTTP/1.1 200"), head
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one(at) for at in range(connections)))
    return times, time.perf_counter() - began


@contextmanager
def _python(*arguments: str, environment: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"port {port}: a server must listen within {_START_S} s"
            time.sleep(0.1)
