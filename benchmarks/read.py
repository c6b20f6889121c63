"""Read: 100 online features of one symbol, by our client and as the packed vector, against Feast's SDK and HMGET."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.measure import Figure, in_child, percentile, seconds
from benchmarks.offline import whole_catalogue
from benchmarks.tape import START_NS, SYMBOL
from feature_client import FeatureStoreClient
from market.clock import SECOND_NS, ManualClock
from runtime.embedded import embedded_redis
from storage.online.address import redis_settings
from storage.online.feast_fields import feature_field
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow, online_key

if TYPE_CHECKING:
    import redis

_FEATURES: Final = 100
_ROUNDS: Final = 500
_WARM_UP_ROUNDS: Final = 20


def run(folder: Path) -> Iterator[Figure]:
    yield from in_child(_measure, folder)


def _measure(folder: Path) -> list[Figure]:
    import redis

    from feature_repo.apply import apply_definitions
    from feature_repo.definitions import definitions
    from feature_repo.project import PROJECT
    from feature_repo.store import client_yaml, open_store

    chosen = whole_catalogue()
    every = (f"{group.name}:{name}" for group in chosen.groups for name in group.columns)
    references = list(islice(every, _FEATURES))
    values = np.random.default_rng(0).normal(size=len(chosen.columns))
    with embedded_redis(folder / "redis_read") as address:
        online_store = {"type": "redis", "connection_string": f"{address.host}:{address.port},db=0"}
        store = open_store(registry=folder / "registry_read.db", online_store=online_store)
        apply_definitions(store, definitions(features_folder=folder / "features_read"))
        (folder / "feature_store.yaml").write_text(
            client_yaml(registry=folder / "registry_read.db", online_store=online_store)
        )
        with (
            closing(OnlineStore.connect(redis_settings(f"{address.host}:{address.port}"), project=PROJECT)) as online,
            closing(FeatureStoreClient(folder, clock=ManualClock(START_NS + SECOND_NS))) as client,
            redis.Redis(host=address.host, port=address.port) as bare,
        ):
            status = np.zeros(len(chosen.groups), np.int8)
            online.write([OnlineRow(SYMBOL, chosen, START_NS, START_NS, values, status, {})], now_ns=START_NS)
            entities = [{"symbol": SYMBOL}]
            packed, hmget, ours, feasts = _times(
                lambda: online.read([SYMBOL]),
                _reading_fields(bare, references, PROJECT),
                lambda: client.get_online_features(references, entities),
                lambda: store.get_online_features(features=references, entity_rows=entities),
            )
            answer = store.get_online_features(features=references, entity_rows=entities).to_dict()
            is_same = client.get_online_features(references, entities).to_dict() == answer
    details = {"features": len(references), "reads": _ROUNDS, "is_what_feast_answers": is_same}
    figures = []
    for name, mine, yardstick, theirs, goals in (
        ("through FeatureStoreClient", ours, "Feast's SDK", feasts, {50: "-", 99: "<= 1"}),
        ("the packed vector", packed, "HMGET of 100 fields", hmget, {50: "-", 99: "-"}),
    ):
        for percent, goal in goals.items():
            figures.append(
                Figure(
                    f"read: {name}, p{percent}",
                    percentile(mine, percent) * 1e3,
                    "ms",
                    "lower",
                    yardstick=f"{yardstick}, p{percent}",
                    yardstick_value=percentile(theirs, percent) * 1e3,
                    goal=goal,
                    required="p95 < 10" if percent == 99 else "-",
                    details=details,
                )
            )
    return figures


def _reading_fields(client: redis.Redis, references: list[str], project: str) -> Callable[[], object]:
    """One HMGET of the features' own fields, undecoded."""
    key = online_key(SYMBOL, project.encode())
    fields = [feature_field(*reference.split(":")) for reference in references]
    return lambda: client.hmget(key, fields)  # type: ignore[arg-type]  # bytes are sent as they are


def _times(*reads: Callable[[], object]) -> list[list[float]]:
    """The seconds of each read, one of each a round."""
    times: list[list[float]] = [[] for _ in reads]
    for number in range(_WARM_UP_ROUNDS + _ROUNDS):
        for read, taken in zip(reads, times, strict=True):
            took = seconds(read)
            if number >= _WARM_UP_ROUNDS:
                taken.append(took)
    return times
