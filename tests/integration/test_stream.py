"""Rows as server-sent events, over a real HTTP server and a real Redis that another writer fills."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import uvicorn

from api import stream
from api.app import create_app
from api.services import ApiServices
from backfill.jobs import BackfillJobs
from feature_repo.serving import FeatureServing
from market.clock import SECOND_NS, ManualClock, format_iso
from registry.life_cycle import RegistryLifeCycle
from runtime.embedded import embedded_redis
from storage.database.metadata import Metadata
from storage.database.quality_reports import QualityReports
from storage.features.log import FeatureLog
from storage.online.address import redis_settings
from storage.online.feed import RowFeed
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from storage.raw.raw_data import RawData
from tests import waiting
from training_sets.builds.builds import DatasetBuilds
from training_sets.dataset.datasets import Datasets
from transforms.rows import FeatureGroup, FeatureSet

B = 1_772_000_040 * SECOND_NS
"""A whole minute."""
KEY = "stream-key"
DEADLINE_S = 20.0
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S)
SET = FeatureSet("1.0.0", ("f", "g"), (FeatureGroup("price", "p", ("f", "g"), (0, 1)),), "f00d")


class Serving:
    """The API on a real port, with a writer beside it."""

    def __init__(self, url: str, store: OnlineStore, feed: RowFeed, server: uvicorn.Server) -> None:
        self.url = url
        self.feed = feed
        self.server = server
        self._store = store

    def write(self, second: float, symbol: str = "BTCUSDT") -> None:
        row_ns = B + round(second * SECOND_NS)
        values, status = np.array([float(second), np.nan]), np.zeros(1, np.int8)
        row = OnlineRow(symbol, SET, row_ns, row_ns + 1, values, status, {"g": "WARMUP"})
        self._store.write([row], now_ns=row_ns + 1)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=DEADLINE_S)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with (
        tempfile.TemporaryDirectory(prefix="fs-") as folder,
        embedded_redis(Path(folder)) as redis,
        closing(OnlineStore.connect(redis_settings(f"{redis.host}:{redis.port}"), project="p")) as store,
        closing(RowFeed.connect(redis_settings(f"{redis.host}:{redis.port}"), project="p")) as feed,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        services = ApiServices(
            online=store,
            metadata=cast("Metadata", None),
            builds=cast("DatasetBuilds", None),
            backfills=cast("BackfillJobs", None),
            quality_reports=cast("QualityReports", None),
            feed=feed,
            heartbeat_s=0.1,
            clock=ManualClock(B + 60 * SECOND_NS),
            api_key=KEY,
            make_trace_id=lambda: "t",
            symbols=("BTCUSDT",),
            raw=RawData(tmp_path),
            versions_folder=tmp_path,
            features=FeatureLog(tmp_path),
            datasets=Datasets(tmp_path),
            life_cycle=cast("RegistryLifeCycle", None),
            feature_server=cast("FeatureServing", None),
        )
        config = uvicorn.Config(create_app(services), log_config=None, timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Serving(f"http://127.0.0.1:{listener.getsockname()[1]}", store, feed, server)
        finally:
            server.should_exit = True
            feed.close()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


class Events:
    """The events of one open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> tuple[int, dict[str, Any]]:
        """Id and document of the next event."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                assert fields["event"] == "row"
                return int(fields["id"]), json.loads(fields["data"])
        raise EOFError

    def wait_for_a_comment(self) -> None:
        assert next(line for line in self._lines if line).startswith(":")


@contextmanager
def stream_of(serving: Serving, query: str) -> Iterator[Events]:
    with serving.client() as client, client.stream("GET", f"/features/stream?{query}") as response:
        assert response.status_code == 200, response.read()
        yield Events(response)


def test_the_newest_row_comes_at_once_and_then_each_as_it_is_stored(serving: Serving) -> None:
    serving.write(0)
    with stream_of(serving, "symbol=BTCUSDT") as events:
        assert events.response.headers["Content-Type"].startswith("text/event-stream")
        assert events.response.headers["X-Trace-Id"] == "t"
        row_ns, document = events.next()
        assert row_ns == B
        assert document == {
            "timestamp": format_iso(B),
            "symbol": "BTCUSDT",
            "features": {"f": 0.0},
            "missing": {"g": "WARMUP"},
            "groups": {"price": "OK"},
            "feature_registry_version": "1.0.0",
            "feature_set": "f00d",
            "age_ms": 60_000,
            "trace_id": "t",
        }
        for second in (1, 2, 3):
            serving.write(second)
            assert events.next()[1]["features"] == {"f": float(second)}


def test_every_tick_comes_unless_an_interval_leaves_out_the_rows_between(serving: Serving) -> None:
    serving.write(0)
    with stream_of(serving, "symbol=BTCUSDT&interval=3s") as events, stream_of(serving, "symbol=BTCUSDT") as every:
        assert events.next()[0] == every.next()[0] == B
        for tick in range(1, 16):
            serving.write(tick / 2)
            assert every.next()[0] == B + tick * SECOND_NS // 2
        assert [events.next()[0] for _ in range(2)] == [B + 3 * SECOND_NS, B + 6 * SECOND_NS]


def test_silence_is_filled_with_comments_also_before_the_first_row(serving: Serving) -> None:
    with stream_of(serving, "symbol=BTCUSDT") as events:
        events.wait_for_a_comment()
        serving.write(1)
        assert events.next()[0] == B + SECOND_NS
        events.wait_for_a_comment()


def test_a_reader_that_leaves_ends_its_task(serving: Serving) -> None:
    serving.write(0)
    with stream_of(serving, "symbol=BTCUSDT") as first, stream_of(serving, "symbol=BTCUSDT") as second:
        first.next()
        second.next()
        assert serving.feed.readers == 2
    eventually(lambda: serving.feed.readers == 0)


def test_a_server_that_stops_ends_its_streams(serving: Serving) -> None:
    serving.write(0)
    with stream_of(serving, "symbol=BTCUSDT") as events:
        events.next()
        serving.server.should_exit = True
        serving.feed.close()
        with pytest.raises(EOFError):
            events.next()


def test_what_cannot_be_streamed_is_refused_before_a_stream_begins(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.write(0)
    with serving.client() as client:
        assert client.get("/features/stream?symbol=NOPE").status_code == 404
        assert client.get("/features/stream?symbol=BTCUSDT&interval=7s").status_code == 422
        assert client.get("/features/stream?symbol=BTCUSDT", headers={"X-API-Key": "no"}).status_code == 401
        monkeypatch.setattr(stream, "MOST_STREAMS", 1)
        with stream_of(serving, "symbol=BTCUSDT") as events:
            events.next()
            refused = client.get("/features/stream?symbol=BTCUSDT")
    assert (refused.status_code, refused.json()["error"]) == (429, "TooManyRequests")
    assert refused.headers["Retry-After"] == "5"
