"""Feast's Ray offline store beside ours on one question: first how many answers are right, then how fast they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pandas as pd

from benchmarks.feast_rows import open_feast
from benchmarks.measure import Figure, in_child
from benchmarks.retrieval import FEATURES, Size, write_entities, write_log
from benchmarks.tape import START_NS
from market.clock import SECOND_NS
from tests.ray_cluster import Cluster

SIZE: Final = Size(600)
OURS: Final = {"type": "feature_repo.offline_store.AsOfOfflineStore"}


@dataclass(frozen=True, slots=True)
class Answers:
    """How many entity rows have every feature of the newest row that is not after them, and how many have none."""

    rows: int
    right: int
    null: int
    took_s: float


def run(folder: Path) -> Iterator[Figure]:
    if find_spec("ray") is None:
        return
    write_log(folder, SIZE)
    write_entities(folder, SIZE)
    with Cluster(cpus=2) as cluster:
        feasts = {
            name: in_child(_answers, folder, _feasts(cluster.address, folder, threshold_mb=threshold_mb), blocks=False)
            for name, threshold_mb in (("windowed join", -1), ("broadcast join", 100))
        }
        ours = in_child(_answers, folder, OURS, blocks=False)
        blocks = in_child(_answers, folder, OURS, blocks=True, address=cluster.address)
    for name, found in (
        ("ours", ours),
        ("ours, blocks on the cluster", blocks),
        *((f"Feast's Ray store, {name}", found) for name, found in feasts.items()),
    ):
        yield Figure(
            f"ray retrieval: right answers of {SIZE.entities}, {name}",
            found.right,
            "rows",
            "higher",
            goal=str(SIZE.entities),
            required=str(SIZE.entities),
            details={"rows": found.rows, "null": found.null, "took_s": found.took_s},
        )


def _feasts(address: str, folder: Path, *, threshold_mb: int) -> dict[str, Any]:
    """threshold_mb: feature rows of more than so much are joined by windows."""
    return {
        "type": "ray",
        "storage_path": str(folder / "ray"),
        "ray_address": address,
        "broadcast_join_threshold_mb": threshold_mb,
    }


def _answers(folder: Path, offline_store: dict[str, Any], *, blocks: bool, address: str = "") -> Answers:
    """blocks: by ``to_ray_dataset`` on the cluster at the address."""
    import warnings

    warnings.simplefilter("ignore")  # of Ray Data itself
    store = open_feast(write_log(folder, SIZE), offline_store, FEATURES)
    asked = pd.read_parquet(write_entities(folder, SIZE))
    with redirect_stdout(StringIO()):
        begun_s = time.perf_counter()
        job = store.get_historical_features(entity_df=asked, features=[f"rows:{name}" for name in FEATURES])
        if blocks:
            import ray

            from feature_repo.retrieval_job import AsOfRetrievalJob

            assert isinstance(job, AsOfRetrievalJob)

            ray.init(address=address, log_to_driver=False)
            frame = job.to_ray_dataset(SIZE.entities // 4).to_pandas()
        else:
            frame = job.to_df()
        took_s = time.perf_counter() - begun_s
    seconds = (
        pd.to_datetime(frame["event_timestamp"], utc=True).astype("datetime64[ns, UTC]").astype("int64") - START_NS
    ) // SECOND_NS
    is_right = pd.Series(data=True, index=frame.index)
    for number, name in enumerate(FEATURES):
        is_right &= frame[name] == seconds + number
    is_null = frame[list(FEATURES)].isna().all(axis=1)
    return Answers(len(frame), int(is_right.sum()), int(is_null.sum()), took_s)
