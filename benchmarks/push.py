"""Push: one row of the whole catalogue into Redis, readable by Feast, compared with Feast's own push."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

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


def run(folder: Path) -> Iterator[Figure]:
    yield in_child(_measure, folder)


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
                return pd.DataFrame({**keys, **features})

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
