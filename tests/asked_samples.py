"""Samples at moments, by a dataset and by Feast, held to the rows that a reader could have had at each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.retrieval_job import AsOfRetrievalJob
from feature_repo.store import OFFLINE_STORE, client_yaml, open_repository
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, floor_to, parse_iso_ns
from runtime.historical import TICK_SOURCE
from storage.features.history_lags import AVAILABILITY_DELAY_NS
from training_sets.builds.builder import Dataset
from training_sets.builds.place import BuildPlace
from training_sets.request.request import LONGEST_LAG_NS
from transforms.rows import FeatureRows

GRID_NS = 100 * MILLISECOND_NS
START_NS = parse_iso_ns("2026-01-05T12:00:00")
END_NS = START_NS + 3 * MINUTE_NS
SYMBOLS = ("BTCUSDT", "ETHUSDT")
READ_DELAY_NS = 1300 * MILLISECOND_NS
Int64s = npt.NDArray[np.int64]


def moments(count: int, *, seed: int) -> Int64s:
    """Random ones, and some a nanosecond around when a tick can be read."""
    draw = np.random.default_rng(seed)
    anywhere = draw.integers(START_NS, END_NS - 10 * SECOND_NS, count)
    edges = draw.integers(START_NS // GRID_NS, END_NS // GRID_NS - 100, count) * GRID_NS + AVAILABILITY_DELAY_NS
    return np.unique(np.concatenate([anywhere, edges + draw.integers(-1, 2, count)]))


def around(times_ns: Int64s) -> Int64s:
    """The times, some of them twice, and such as no row answers at."""
    return np.concatenate([times_ns, times_ns[:5], np.array([START_NS - 7, START_NS + 3, END_NS + 90 * SECOND_NS])])


def asked_of_feast(place: BuildPlace, repository: Path, times_ns: Int64s) -> tuple[pd.DataFrame, pa.Table]:
    """What Feast gives at each time of each symbol, the entity rows in no order, and the rows it is of."""
    options = {
        "RAW_DATA_STORAGE_PATH": str(place.raw.parquet.folder),
        "FEATURE_LOG_STORAGE_PATH": str(place.features.folder),
        "FEATURE_SERVICE_CACHE_PATH": str(place.kernels_folder.parent),
        "FEATURE_SERVICE_ROW_GRID": "100ms",
    }
    repository.mkdir()
    (repository / "feature_store.yaml").write_text(
        client_yaml(
            registry=Path(place.open_store().config.registry.path),
            online_store={"type": "redis", "connection_string": "localhost:1"},
            offline_store={"type": OFFLINE_STORE, "ticks": {"source": TICK_SOURCE, "options": options}},
        )
    )
    store = open_repository(repository)
    entities = pd.DataFrame(
        {
            "symbol": np.repeat([*SYMBOLS, "NEVERUSDT"], len(times_ns)),
            "event_timestamp": pd.to_datetime(np.tile(times_ns, len(SYMBOLS) + 1), utc=True),
        }
    ).sample(frac=1, random_state=1)
    job = store.get_historical_features(entities, store.get_feature_service("features_v1_0_0"))
    assert isinstance(job, AsOfRetrievalJob)
    return job.to_df(), job.to_provenance()


def check_of_feast(
    found: pd.DataFrame, provenance: pa.Table, given: dict[str, FeatureRows], available_ns: dict[str, Int64s]
) -> None:
    """Every entity row has the newest row that could be read, null where there was none."""
    columns = given[SYMBOLS[0]].feature_set.columns
    values = found[list(columns)].to_numpy()
    event_ns, created_ns = (provenance[f"price__{kind}"].cast(pa.int64()).to_pylist() for kind in ("event", "created"))
    times_ns = found["event_timestamp"].astype("int64").tolist()
    for at, (symbol, time_ns) in enumerate(zip(found["symbol"], times_ns, strict=True)):
        rows = given.get(symbol)
        readable = []
        if rows is not None:
            is_readable = (available_ns[symbol] <= time_ns) & (rows.row_ns >= time_ns - LONGEST_LAG_NS)
            readable = np.flatnonzero(is_readable).tolist()
        if rows is None or not readable:
            assert np.isnan(values[at]).all()
            assert event_ns[at] is created_ns[at] is None
            continue
        newest = readable[-1]
        assert np.array_equal(values[at].view(np.int64), rows.values[newest].view(np.int64))
        assert (event_ns[at], created_ns[at]) == (rows.row_ns[newest], available_ns[symbol][newest])


def check(built: Dataset, given: dict[str, FeatureRows], available_ns: dict[str, Int64s]) -> int:
    """Every sample is the newest row that could be read, its label begins when the model acts; how many were seen."""
    seen = 0
    for split in ("train", "validation", "test"):
        table = pq.read_table(built.path / f"{split}.parquet")
        columns = table.column_names[2:-1]
        values = np.column_stack([table.column(name).to_numpy() for name in columns])
        for at, (symbol, time_ns, label) in enumerate(
            zip(
                map(str, table.column("symbol").to_pylist()),
                table.column("timestamp").cast(pa.int64()).to_numpy().tolist(),
                table.column("target").to_pylist(),
                strict=True,
            )
        ):
            rows = given[symbol]
            readable = np.flatnonzero((available_ns[symbol] <= time_ns) & (rows.row_ns >= time_ns - LONGEST_LAG_NS))
            assert np.array_equal(values[at].view(np.int64), rows.values[readable.max()].view(np.int64))
            mids = dict(zip(rows.row_ns.tolist(), rows.values[:, columns.index("mid_price")].tolist(), strict=True))
            entry_ns = floor_to(time_ns + READ_DELAY_NS, SECOND_NS)
            assert label == mids[entry_ns + 5 * SECOND_NS] / mids[entry_ns] - 1.0
            seen += 1
    return seen
