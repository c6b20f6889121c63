"""Push: one row of the whole catalogue into Redis, readable by Feast, compared with Feast's own push."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, cast

import numpy as np
import pandas as pd
import redis

from benchmarks.measure import Figure, in_child, percentile, seconds
from benchmarks.offline import VERSION, whole_catalogue
from benchmarks.tape import START_NS, SYMBOL
from market.clock import SECOND_NS, to_datetime
from runtime.embedded import embedded_redis
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow

_WRITES_A_PUSH: Final = 10
_PUSHES: Final = 60
_BATCH: Final = 500
_BATCHES: Final = 20


def run(folder: Path) -> Iterator[Figure]:
    yield in_child(_measure, folder)
    yield from in_child(_measure_batches, folder)


def _measure(folder: Path) -> Figure:
    from feast.data_source import PushMode

    from feature_repo.apply import apply_definitions
    from feature_repo.definitions import PUSH_SOURCE_NAME, definitions
    from feature_repo.project import PROJECT
    from feature_repo.registry_versions import service_name
    from feature_repo.store import open_store

    chosen = whole_catalogue()
    values = np.random.default_rng(0).normal(size=len(chosen.columns))
    status = np.zeros(len(chosen.groups), np.int8)
    with embedded_redis(folder / "redis") as address:
        online_store = {"type": "redis", "connection_string": f"{address.host}:{address.port},db=0"}
        store = open_store(registry=folder / "registry.db", online_store=online_store)
        apply_definitions(store, definitions(features_folder=folder / "features"))
        pushed = [each.name for view in store.list_feature_views() for each in view.features]
        with closing(OnlineStore.connect(redis_settings(f"{address.host}:{address.port}"), project=PROJECT)) as online:
            now_ns = START_NS

            def row() -> OnlineRow:
                nonlocal now_ns
                now_ns += SECOND_NS
                return OnlineRow(SYMBOL, chosen, now_ns, now_ns, values, status, {})

            def frame() -> pd.DataFrame:
                at = to_datetime(row().row_ns)
                keys = {"symbol": [SYMBOL], "event_timestamp": [at], "created_timestamp": [at]}
                features = {name: [value] for name, value in zip(chosen.columns, values.tolist(), strict=True)}
                # Feast pushes to every view whole, also the columns that a later version added.
                return pd.DataFrame({**keys, **{name: [np.nan] for name in pushed}, **features})

            ours, feasts = [], []
            for number in range(_PUSHES + 1):
                ours += [seconds(partial(online.write, [row()], now_ns=now_ns)) for _ in range(_WRITES_A_PUSH)]
                took = seconds(partial(store.push, PUSH_SOURCE_NAME, frame(), to=PushMode.ONLINE))
                if number > 0:  # the first call builds what the next ones find
                    feasts.append(took)
            values += 1
            online.write([row()], now_ns=now_ns)
            service = store.get_feature_service(service_name(VERSION))
            read = store.get_online_features(features=service, entity_rows=[{"symbol": SYMBOL}]).to_dict()
    is_readable = all(read[name] == [value] for name, value in zip(chosen.columns, values.tolist(), strict=True))
    return Figure(
        "push: one row into Redis, p50",
        percentile(ours[_WRITES_A_PUSH:], 50) * 1e3,
        "ms",
        "lower",
        yardstick="FeatureStore.push, p50",
        yardstick_value=percentile(feasts, 50) * 1e3,
        goal="<= 0.5",
        details={
            "p99_ms": percentile(ours[_WRITES_A_PUSH:], 99) * 1e3,
            "features": len(chosen.columns),
            "rows": len(ours),
            "is_read_by_feast": is_readable,
        },
    )


def _measure_batches(folder: Path) -> list[Figure]:
    """Rows of many symbols in one call, as the worker stores those of a second."""
    chosen = whole_catalogue()
    values = np.random.default_rng(0).normal(size=(_BATCH, len(chosen.columns)))
    status = np.zeros(len(chosen.groups), np.int8)
    ours, servers = [], []
    with embedded_redis(folder / "redis-of-batches") as address:
        client = redis.Redis(host=address.host, port=address.port)
        with closing(
            OnlineStore.connect(redis_settings(f"{address.host}:{address.port}"), project="batches")
        ) as online:
            for number in range(_BATCHES + 1):
                now_ns = START_NS + number * SECOND_NS
                rows = [
                    OnlineRow(f"S{at:03d}USDT", chosen, now_ns, now_ns, values[at] + number, status, {})
                    for at in range(_BATCH)
                ]
                server_s, begun_s = _server_seconds(client), time.process_time()
                result = online.write(rows, now_ns=now_ns, fences=dict.fromkeys((row.symbol for row in rows), 1))
                ours.append((time.process_time() - begun_s) / _BATCH)
                servers.append((_server_seconds(client) - server_s) / _BATCH)
                assert result.written == _BATCH
        client.close()
    details = {"rows_a_call": _BATCH, "features": len(chosen.columns), "calls": _BATCHES}
    name = f"push: one row of {_BATCH} in one call, processor time of the"
    return [
        Figure(f"{name} {side}", percentile(times[1:], 50) * 1e6, "us", "lower", goal=goal, details=details)
        for side, times, goal in (("client", ours, "<= 25"), ("server", servers, "<= 80"))
    ]


def _server_seconds(client: redis.Redis) -> float:
    found = cast("dict[str, float]", client.info("cpu"))  # a synchronous client's answer
    return found["used_cpu_user"] + found["used_cpu_sys"]
