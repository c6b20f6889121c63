"""``run --source bybit`` as a process, against a server that speaks the exchange's protocol."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from runtime.embedded import embedded_redis
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from storage.tape import read_tape
from tests import waiting
from tests.bybit_exchange import BybitExchange
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
LINEAR = "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
DEADLINE_S = 120.0
eventually = partial(waiting.eventually_async, deadline_s=DEADLINE_S)
PACE_S = 0.003


def test_the_exchanges_stream_becomes_live_features(recorded_data: Path, kernel_cache: Path) -> None:
    with gzip.open(recorded_data / LINEAR) as file:
        messages = [json.loads(line)["msg"] for line in file]
    with tempfile.TemporaryDirectory(prefix="fs-") as folder:
        asyncio.run(play(Path(folder), kernel_cache, messages))


async def play(folder: Path, kernel_cache: Path, messages: list[dict[str, Any]]) -> None:
    port = free_port()
    async with BybitExchange(SYMBOLS) as exchange:
        with (
            embedded_redis(folder / "redis") as redis,
            closing(
                OnlineStore.connect(redis_settings(f"{redis.host}:{redis.port}"), project="feature_service")
            ) as store,
        ):
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "PYTHONPATH": str(ROOT),
                "FEATURE_SERVICE_DATA_PATH": str(folder),
                "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
                "FEATURE_SERVICE_SYMBOLS": ",".join(SYMBOLS),
                "FEATURE_SERVICE_METRICS_PORT": str(port),
                "FEATURE_SERVICE_LOG_FORMAT": "json",
                "REDIS_HOST": redis.host,
                "REDIS_PORT": str(redis.port),
                "BYBIT_STREAM_URL": exchange.url,
                "FEATURE_SERVICE_BACKFILL_AUTO": "false",
            }
            run = ["run", "--roles", "ingest", "--source", "bybit", "--registry", "1.0.0"]
            with (folder / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-c",
                    "from runtime.cli import main; main()",
                    *run,
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
            try:
                await eventually(lambda: [len(each) for each in exchange.subscriptions.values()] == [8])
                for message in messages[:600]:
                    await exchange.publish(message)
                    await asyncio.sleep(PACE_S)
                await exchange.cut()
                await eventually(lambda: [len(each) for each in exchange.subscriptions.values()] == [8])
                for message in messages[600:]:
                    await exchange.publish(message)
                    await asyncio.sleep(PACE_S)
                # The first row may be one from before a symbol's snapshot: its prices are rightly unknown.
                published_ns = time.time_ns()
                await eventually(
                    lambda: all(vector is not None and vector.row_ns > published_ns for vector in store.read(SYMBOLS))
                )
                vectors = {vector.symbol: vector for vector in store.read(SYMBOLS) if vector is not None}
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                    metrics = (await client.get("/metrics")).text
            finally:
                process.terminate()
                code = await asyncio.wait_for(process.wait(), DEADLINE_S)
    assert code == 0, (folder / "log").read_text()
    now_ns = time.time_ns()
    for symbol in SYMBOLS:
        vector = vectors[symbol]
        values = dict(zip(vector.columns, vector.values.tolist(), strict=True))
        assert values["mid_price"] > 0
        assert 0 < now_ns - vector.row_ns < DEADLINE_S * 1e9
        taped = [(frame.recv_ns, json.loads(frame.body)) for frame in read_tape(folder / "raw", symbol)]
        assert sum(message.get("reason") == "exchange connection was lost" for _, message in taped) == 1
        updates = [message["data"]["u"] for _, message in taped if message["topic"].startswith("orderbook")]
        assert all(after in {before, before + 1} for before, after in pairwise(updates))
        published = [message["topic"] for message in messages if message["topic"].endswith(f".{symbol}")]
        assert sum(not message["topic"].startswith("feature-service") for _, message in taped) >= len(published)
    assert "feature_service_worker_exchange_connections_total 2.0" in metrics
    assert "feature_service_worker_repeated_total 0.0" in metrics
