"""What readers of a running service were given, by every way there is to read."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import httpx
import uvicorn

from api.app import create_app
from feature_client import FeatureStoreClient
from feature_repo.registry_versions import service_name
from market.clock import ManualClock, parse_iso_ns
from runtime.feature_repository import apply_feature_store
from runtime.servers import Servers
from runtime.serving import api_services
from runtime.settings import Settings
from runtime.stores import open_stores
from storage.online.memory import OnlineMemory
from transforms.rows import FeatureSet

DEADLINE_S = 60.0
FAR_NS = parse_iso_ns("2100-01-01T00:00:00")
"""What the SDK believes is now: from the age that it tells follows the row time, exactly."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One vector, or the part of it that Feast calls a view: values by column, None where unknown.

    asked_ns, read_ns: before it was asked for, 0 where nobody asked, and when it had come.
    """

    way: str
    symbol: str
    row_ns: int
    asked_ns: int
    read_ns: int
    values: Mapping[str, float | None]


Read = Callable[[str], list[Reading]]


def by_client(client: FeatureStoreClient, chosen: FeatureSet) -> Read:
    references = [f"{group.name}:{column}" for group in chosen.groups for column in group.columns]

    def read(symbol: str) -> list[Reading]:
        asked_ns = time.time_ns()
        [found] = client.get_online_features(references, [{"symbol": symbol}]).features
        read_ns = time.time_ns()
        ages = {feature.age for feature in found.values()}
        assert len(ages) == 1
        age = ages.pop()
        if age is None:
            return []
        row_ns = FAR_NS - age // timedelta(microseconds=1) * 1_000
        values = {reference.partition(":")[2]: feature.value for reference, feature in found.items()}
        return [Reading("client", symbol, row_ns, asked_ns, read_ns, values)]

    return read


def by_feast(folder: Path, chosen: FeatureSet) -> Read:
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(folder))
    service = store.get_feature_service(service_name(chosen.version))

    def read(symbol: str) -> list[Reading]:
        asked_ns = time.time_ns()
        answer = store.get_online_features(features=service, entity_rows=[{"symbol": symbol}])
        read_ns = time.time_ns()
        values = answer.to_dict()
        results = zip(answer.proto.metadata.feature_names.val, answer.proto.results, strict=True)
        times = {name: result.event_timestamps[0].ToNanoseconds() for name, result in results}
        return [
            Reading("feast", symbol, row_ns, asked_ns, read_ns, {name: values[name][0] for name in group.columns})
            for group in chosen.groups
            for row_ns in {times[name] for name in group.columns}
            if row_ns > 0
        ]

    return read


def vector_reading(way: str, symbol: str, document: Mapping[str, object], *, asked_ns: int = 0) -> Reading:
    features, missing = document["features"], document["missing"]
    assert isinstance(features, dict)
    assert isinstance(missing, dict)
    age_ms = document["age_ms"]
    assert isinstance(age_ms, int)
    assert age_ms >= 0
    values = {**features, **dict.fromkeys(missing)}
    return Reading(way, symbol, parse_iso_ns(str(document["timestamp"])), asked_ns, time.time_ns(), values)


def by_http(client: httpx.Client) -> Read:
    def read(symbol: str) -> list[Reading]:
        asked_ns = time.time_ns()
        answer = client.get("/features/latest", params={"symbol": symbol})
        return [vector_reading("http", symbol, answer.json(), asked_ns=asked_ns)] if answer.status_code == 200 else []

    return read


@contextmanager
def api_url(settings: Settings, servers: Servers, memory: OnlineMemory) -> Iterator[str]:
    """The whole API on a port of its own."""
    with ExitStack() as stack:
        services = stack.enter_context(api_services(settings, servers, open_stores(settings), memory=memory))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = uvicorn.Server(uvicorn.Config(create_app(services), log_config=None, timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            services.feed.close()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


class Readers:
    """Threads that read at random moments until they are stopped; each way has one, the stream one a symbol."""

    def __init__(self, symbols: tuple[str, ...], *, seed: int, mean_pause_s: float) -> None:
        self.readings: list[Reading] = []
        self._symbols = symbols
        self._seed = seed
        self._mean_pause_s = mean_pause_s
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    def start(self, read: Read) -> None:
        self._begin(lambda: self._read(read, Random(self._seed + len(self._threads))))  # moments

    def follow(self, url: str, symbol: str) -> None:
        self._begin(lambda: self._follow(url, symbol))

    def count(self, way: str) -> int:
        return sum(reading.way == way for reading in tuple(self.readings))

    @property
    def span_ns(self) -> int:
        """From the first reading to the last one."""
        readings = tuple(self.readings)
        return readings[-1].read_ns - readings[0].read_ns if readings else 0

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        if self._failures:
            raise self._failures[0]

    def check(self) -> bool:
        """True; raises what a reader met."""
        if self._failures:
            raise self._failures[0]
        return True

    def _begin(self, run: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                run()
            except BaseException as error:  # noqa: BLE001  # the test raises it
                self._failures.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read(self, read: Read, rng: Random) -> None:
        while not self._stop.wait(rng.random() * 2 * self._mean_pause_s):
            self.readings += read(rng.choice(self._symbols))

    def _follow(self, url: str, symbol: str) -> None:
        with (
            httpx.Client(base_url=url, timeout=DEADLINE_S) as client,
            client.stream("GET", "/features/stream", params={"symbol": symbol}) as response,
        ):
            assert response.status_code == 200
            for line in response.iter_lines():
                if self._stop.is_set():
                    return
                if line.startswith("data: "):
                    self.readings.append(vector_reading("stream", symbol, json.loads(line.removeprefix("data: "))))


@contextmanager
def reading_every_way(
    settings: Settings, servers: Servers, memory: OnlineMemory, chosen: FeatureSet, *, seed: int, mean_pause_s: float
) -> Iterator[Readers]:
    """Readers by Feast's SDK, ours, ``/features/latest`` and ``/features/stream``; stopped and checked at the end."""
    apply_feature_store(settings, servers)
    folder = settings.feature_service_data_path / "client"
    readers = Readers(settings.feature_service_symbols, seed=seed, mean_pause_s=mean_pause_s)
    with ExitStack() as stack:
        url = stack.enter_context(api_url(settings, servers, memory))
        client = FeatureStoreClient(folder, clock=ManualClock(FAR_NS))
        stack.callback(client.close)
        http = stack.enter_context(httpx.Client(base_url=url, timeout=DEADLINE_S))
        for symbol in settings.feature_service_symbols:
            readers.follow(url, symbol)
        for read in (by_client(client, chosen), by_http(http), by_feast(folder, chosen)):
            readers.start(read)
        try:
            yield readers
        finally:
            readers.stop()
