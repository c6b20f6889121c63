"""The candles before a first start: fetched at once, on the tape, and seen by every replay as they were."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from typer.testing import CliRunner

from feature_repo.registry_versions import load_registry_version
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS
from runtime.cli import app
from runtime.ingest_role import IngestRole
from runtime.servers import Servers
from runtime.settings import load_settings
from runtime.sources import SourceChoice
from storage.features.log import FeatureLog
from storage.tape import read_tape
from tests import waiting
from tests.bybit_exchange import BybitExchange
from tests.bybit_rest import BybitHistoryServer, History, Row, recorded_klines
from tests.live import online_store_of
from transforms.status import OK

LINEAR: Final = "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"
SYMBOL: Final = "BTCUSDT"
VERSION: Final = "1.2.0"
DEADLINE_S: Final = 60.0
PACE_S: Final = 0.003
MINUTE_MS: Final = MINUTE_NS // MILLISECOND_NS
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S)


class HeldBack(list[Row]):
    """Rows that an answer waits for until ``opened`` is set."""

    opened: threading.Event

    def __iter__(self) -> Iterator[Row]:
        self.opened.wait(DEADLINE_S)
        return super().__iter__()


@pytest.fixture
def candles(recorded_data: Path) -> HeldBack:
    """Recorded candles, said to be those of the minutes around now."""
    begin_ms = time.time_ns() // MINUTE_NS * MINUTE_MS - 1600 * MINUTE_MS
    recorded = recorded_klines(recorded_data / "klines" / "BTCUSDT_5m.csv.gz", last=1700)
    rows = HeldBack((str(begin_ms + at * MINUTE_MS), *row[1:]) for at, row in enumerate(recorded))
    rows.opened = threading.Event()
    return rows


@contextmanager
def playing(messages: list[dict[str, Any]]) -> Iterator[BybitExchange]:
    """An exchange that publishes the messages, again and again stamped anew, to whoever is subscribed."""
    exchange = BybitExchange((SYMBOL,))
    is_over = threading.Event()
    ready = threading.Event()

    async def run() -> None:
        async with exchange:
            ready.set()
            for message in messages:
                while not exchange.subscriptions and not is_over.is_set():  # noqa: ASYNC110  # another thread's
                    await asyncio.sleep(0.02)
                await exchange.publish(message)
                await asyncio.sleep(PACE_S)
                if is_over.is_set():
                    return
            while not is_over.is_set():  # noqa: ASYNC110  # another thread's
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        assert ready.wait(DEADLINE_S)
        yield exchange
    finally:
        is_over.set()
        thread.join(DEADLINE_S)


def test_technical_features_are_served_from_the_candles_before_the_start_and_rebuilt_to_the_bit(
    recorded_data: Path, kernel_cache: Path, live_servers: Servers, tmp_path: Path, candles: HeldBack
) -> None:
    with gzip.open(recorded_data / LINEAR) as file:
        messages = [message for line in file if (message := json.loads(line)["msg"])["topic"].endswith(SYMBOL)]
    # Candles of months ago would take the places of some of those before the start: of which, the time of day says.
    messages = [message for message in messages if not message["topic"].startswith("kline")]
    with playing(messages) as exchange, BybitHistoryServer({SYMBOL: History(klines=candles)}) as rest:
        settings = load_settings(
            {
                "FEATURE_SERVICE_DATA_PATH": str(tmp_path),
                "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
                "FEATURE_SERVICE_SYMBOLS": f"{SYMBOL},NOSUCH",
                "FEATURE_SERVICE_BACKFILL_AUTO": "true",
                "BYBIT_STREAM_URL": exchange.url,
                "BYBIT_REST_URL": rest.url,
            },
            env_file=None,
        )
        role = IngestRole(settings, live_servers, SourceChoice("bybit"), version=VERSION)
        working = threading.Thread(target=role.run, daemon=True)
        working.start()
        try:
            with closing(online_store_of(live_servers)) as store:

                def newest() -> tuple[int, float]:
                    """Row time and RSI of the newest row; 0 before the first."""
                    [vector] = store.read([SYMBOL])
                    return (
                        (0, 0.0) if vector is None else (vector.row_ns, vector.values[vector.columns.index("rsi_14")])
                    )

                eventually(lambda: newest()[0] > 0)
                begin_ns, before = newest()
                eventually(lambda: newest()[0] >= begin_ns + 2 * SECOND_NS)
                candles.opened.set()
                eventually(lambda: not math.isnan(newest()[1]))
                known_ns = newest()[0]
                eventually(lambda: newest()[0] >= known_ns + 2 * SECOND_NS)
        finally:
            candles.opened.set()
            role.stop()
            working.join(DEADLINE_S)
    assert math.isnan(before)

    raw = settings.raw_folder
    taped = [*read_tape(raw, SYMBOL)]
    [mark] = [frame for frame in taped if b'"feature-service.history.' in frame.body]
    assert rest.url in json.loads(mark.body)["reason"]
    rows, _ = FeatureLog(settings.feature_log_storage_path).read(
        SYMBOL, load_registry_version(VERSION).feature_set, from_ns=None, to_ns=None
    )
    technical = [group.name for group in rows.feature_set.groups].index("technical")
    is_known = ~np.isnan(rows.values[:, rows.feature_set.columns.index("rsi_14")])
    assert np.array_equal(is_known, rows.row_ns > mark.recv_ns)
    assert is_known.any()
    assert (rows.status[is_known, technical] == OK).all()
    for prepare in ([], ["tape", "compact", "--data", str(tmp_path)]):
        if prepare:
            assert CliRunner().invoke(app, prepare).exit_code == 0
        done = CliRunner().invoke(
            app, ["verify", "parity", "--registry", VERSION, "--all-ticks", "--json", "--data", str(tmp_path)]
        )
        found = json.loads(done.stdout)
        assert found["compared"] == len(rows)
        assert (found["mismatched"], found["missing"], found["extra"]) == (0, 0, 0)
        assert (found["ticks_mismatched"], found["oracle"]["mismatched"], found["not_compared"]) == (0, [], [])
        assert found["ticks_compared"] == found["ticks_recorded"] > 0
