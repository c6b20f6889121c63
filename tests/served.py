"""What readers of a running service were given, by every way there is to read, and the rows computed again."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random

import httpx
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn

from api.app import create_app
from feature_client import FeatureStoreClient
from feature_repo.registry_versions import service_name
from ingestion.tape.compaction import compact_tape
from market.clock import SECOND_NS, ManualClock, ceil_to, floor_to, parse_iso_ns
from runtime.building import build_place
from runtime.feature_repository import apply_feature_store
from runtime.servers import Servers
from runtime.serving import api_services
from runtime.settings import Settings
from runtime.stores import open_stores
from storage.features.log import FeatureLog
from storage.features.served_ticks import read_served_ticks, row_digest
from storage.instruments import InstrumentPins
from storage.online.memory import OnlineMemory
from storage.raw.raw_data import RawData
from training_sets.builds.builder import build_dataset
from training_sets.rebuild.rebuild import rebuild_rows_at
from training_sets.request.folds import Period, TimeBased
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, FeatureSet
from transforms.state import ORDER_NS

Int64s = npt.NDArray[np.int64]

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


def recomputed(raw: Path, symbol: str, kernel: Kernel, row_ns: set[int]) -> dict[int, FeatureRows]:
    """The rows at these times, each computed again from the raw data of the tape, which nobody writes any more."""
    compact_tape(raw, symbol, InstrumentPins(raw))
    # A rebuild begins within the raw data; rows of the silence behind it follow.
    _, last_ns = RawData(raw).period(symbol)
    times = np.array(sorted(row_ns | {floor_to(last_ns, ORDER_NS)}), np.int64)
    rows = rebuild_rows_at(RawData(raw), symbol, kernel, times)
    assert rows.row_ns.tolist() == times.tolist()
    found = {}
    for at, time_ns in enumerate(times.tolist()):
        if time_ns not in row_ns:
            continue
        one = slice(at, at + 1)
        found[time_ns] = FeatureRows(symbol, rows.feature_set, times[one], rows.values[one], rows.status[one])
    return found


def assert_proven(settings: Settings, servers: Servers, kernel: Kernel, readings: list[Reading]) -> None:
    """Each vector is, bit for bit, the row of its own time, on record as served; none is dated after its reading.

    Historical retrieval and a dataset of samples at those moments give the same vector, of the same row.
    """
    moments: dict[str, Int64s] = {}
    for symbol in settings.feature_service_symbols:
        read = [reading for reading in readings if reading.symbol == symbol]
        rows = recomputed(settings.raw_folder, symbol, kernel, {reading.row_ns for reading in read})
        for reading in read:
            assert reading.row_ns <= reading.read_ns, reading
            assert_same_bits(reading, kernel.feature_set.columns, rows[reading.row_ns].values[0])
        given_ns, available_ns, digest = read_served_ticks(
            FeatureLog(settings.feature_log_storage_path),
            symbol,
            from_ns=min(rows),
            to_ns=max(rows) + 1,
            feature_set=kernel.feature_set.fingerprint,
        )
        assert (available_ns >= given_ns).all()
        on_record = dict(zip(given_ns.tolist(), digest.tolist(), strict=True))
        assert {time_ns: int(row_digest(row)[0]) for time_ns, row in rows.items()}.items() <= on_record.items()
        # On its way to its readers a row may be read by one before all can: it is asked for when they can.
        since_ns = dict(zip(given_ns.tolist(), available_ns.tolist(), strict=True))
        moments[symbol] = np.array([max(reading.asked_ns, since_ns[reading.row_ns]) for reading in read], np.int64)
    for symbol, times_ns in moments.items():
        read = [reading for reading in readings if reading.symbol == symbol]
        assert np.mean([reading.asked_ns in (0, at) for reading, at in zip(read, times_ns, strict=True)]) > 0.5
        assert_retrieved(settings, kernel, symbol, read, times_ns)
    assert_sampled(settings, servers, kernel, readings, moments)


def assert_same_bits(reading: Reading, columns: Sequence[str], expected: npt.NDArray[np.float64]) -> None:
    known = dict(zip(columns, expected.tolist(), strict=True))
    assert set(reading.values) <= set(known)
    for name, value in reading.values.items():
        is_same = math.isnan(known[name]) if value is None else value.hex() == known[name].hex()
        assert is_same, (reading.way, reading.symbol, reading.row_ns, name, value, known[name])


def assert_retrieved(
    settings: Settings, kernel: Kernel, symbol: str, readings: list[Reading], times_ns: Int64s
) -> None:
    """``get_historical_features`` at each reading's moment gives its vector."""
    columns = kernel.feature_set.columns
    references = [f"{group.name}:{column}" for group in kernel.feature_set.groups for column in group.columns]
    client = FeatureStoreClient(settings.feature_service_data_path / "historical")
    entities = pd.DataFrame({"symbol": symbol, "event_timestamp": pd.to_datetime(times_ns, utc=True)})
    found = client.get_historical_features(entities, references)
    assert found.pit_report.is_proven
    assert all(view.found == len(readings) for view in found.pit_report.views.values())
    for reading, values in zip(readings, found.to_df()[list(columns)].to_numpy(), strict=True):
        assert_same_bits(reading, columns, values)
    client.close()


def assert_sampled(
    settings: Settings, servers: Servers, kernel: Kernel, readings: list[Reading], moments: Mapping[str, Int64s]
) -> None:
    """A dataset of samples at the moments has each reading's vector, where the price of its label is known."""
    columns = kernel.feature_set.columns
    times_ns = np.unique(np.concatenate(list(moments.values())))
    begin_ns, end_ns = floor_to(int(times_ns[0]), SECOND_NS), ceil_to(int(times_ns[-1]) + 1, SECOND_NS)
    third_ns = floor_to((end_ns - begin_ns) // 3, SECOND_NS)
    request = DatasetRequest(
        symbols=settings.feature_service_symbols,
        strategy=TimeBased(
            (
                Period("train", begin_ns, begin_ns + third_ns),
                Period("validation", begin_ns + third_ns, begin_ns + 2 * third_ns),
                Period("test", begin_ns + 2 * third_ns, end_ns),
            )
        ),
        targets=(RegressionTarget(SECOND_NS),),
        registry_version=kernel.feature_set.version,
        sample_kind="at_time",
        sample_times_ns=tuple(times_ns.tolist()),
        purge=False,
        check_leakage=False,
    )
    place = build_place(settings, servers, open_stores(settings), engine=None)
    place = replace(place, rules=replace(place.rules, has_quality_gate=False))
    built = build_dataset(request, place, settings.feature_service_data_path / "asked")
    samples: dict[tuple[str, int], npt.NDArray[np.float64]] = {}
    for split in ("train", "validation", "test"):
        table = pq.read_table(built.path / f"{split}.parquet")
        keys = zip(map(str, table["symbol"].to_pylist()), table["timestamp"].cast(pa.int64()).to_numpy(), strict=True)
        values = np.column_stack([table[name].to_numpy() for name in columns])
        samples |= dict(zip(keys, values, strict=True))
    compared = 0
    for symbol, at_ns in moments.items():
        read = [reading for reading in readings if reading.symbol == symbol]
        for reading, time_ns in zip(read, at_ns.tolist(), strict=True):
            if (symbol, time_ns) in samples:
                assert_same_bits(reading, columns, samples[symbol, time_ns])
                compared += 1
    assert compared > len(readings) / 2, "the last readings have no label, and the first may have no price"
