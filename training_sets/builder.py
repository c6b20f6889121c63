"""The builder: from a request to train, validation and test files with their manifest.

1. Sample the row times of every period, for every symbol.
2. Retrieve the features through Feast as they were known at each of those times: bitemporal, so that a row that came
   late is not seen by a model that stands at an earlier time.
3. Label each row with the mid prices at its time and after it; rows without a label are dropped and counted.
4. Split by time, purge and embargo.
5. Write the files, then the manifest: a folder with a manifest is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.registry_versions import load_registry_version
from market.clock import SECOND_NS, ceil_to, format_iso
from market.errors import InvalidRequest, NotFound
from storage.feature_log import read_feature_log
from training_sets.labels import regression_labels
from training_sets.request import DatasetRequest
from training_sets.splits import Split, split_by_time
from transforms.catalogue import feature_set
from transforms.rows import FeatureSet

if TYPE_CHECKING:
    from feature_repo.store import FeatureStore

MANIFEST_NAME: Final = "manifest.json"
LABEL_PRICE: Final = "mid_price"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A finished dataset: its folder, its manifest and the rows of each split by name."""

    path: Path
    manifest: dict[str, Any]
    records: dict[str, int]


def build_dataset(
    request: DatasetRequest,
    *,
    store: FeatureStore,
    features_folder: Path,
    versions_folder: Path,
    folder: Path,
    on_step: Callable[[str], None] = lambda _step: None,
) -> Dataset:
    """Build the dataset of ``request`` in ``folder``.

    The files have the columns symbol, timestamp (UTC), the version's features in its order, and target.

    Raises InvalidRequest naming what is possible when the request cannot be met, NotFound for an unknown version.
    """
    chosen = load_registry_version(request.registry_version, versions_folder).feature_set
    on_step("sampling row times")
    entities = _entities(request, features_folder)
    on_step("retrieving features as they were known")
    from feature_repo.store import retrieve

    features = retrieve(store, chosen, entities)
    on_step("labelling")
    labels = _labels(request, entities, features_folder)
    is_found = features[list(chosen.columns)].notna().any(axis=1).to_numpy()
    is_labelled = ~np.isnan(labels)
    kept = is_found & is_labelled
    table = features.assign(target=labels)[kept]
    on_step("splitting")
    splits = split_by_time(
        _times_ns(table["timestamp"]),
        request.periods,
        label_reach_ns=request.target.reach_ns,
        purge=request.purge,
        embargo_ns=request.embargo_ns,
    )
    if len(splits[0].rows) == 0:
        raise InvalidRequest(
            f"train period: must hold rows with a label, was {splits[0].period}; {_available(request, features_folder)}"
        )
    on_step("writing files")
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split in splits:
        path = folder / f"{split.period.name}.parquet"
        _write(path, table.iloc[split.rows], chosen)
        files[split.period.name] = path
    manifest = {
        "request": _describe(request),
        "feature_registry_version": chosen.version,
        "feature_set": chosen.fingerprint,
        "groups": {group.name: group.fingerprint for group in chosen.groups},
        "columns": ["symbol", "timestamp", *chosen.columns, "target"],
        "rows_sampled": len(entities),
        "rows_without_features": int(np.count_nonzero(~is_found)),
        "rows_without_label": int(np.count_nonzero(is_found & ~is_labelled)),
        "splits": [_proof(split, splits[at + 1 :]) for at, split in enumerate(splits)],
        "warnings": [
            f"{split.period.name}: no rows, {split.purged} purged and {split.embargoed} embargoed"
            for split in splits
            if len(split.rows) == 0
        ],
        "files": {
            name: {"path": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for name, path in files.items()
        },
    }
    unfinished = folder / f".{MANIFEST_NAME}"
    unfinished.write_text(json.dumps(manifest, indent=2) + "\n")
    unfinished.replace(folder / MANIFEST_NAME)
    return Dataset(folder, manifest, {split.period.name: len(split.rows) for split in splits})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished dataset. Raises NotFound when the folder holds none."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise NotFound(f"{path}: must be the manifest of a finished dataset, was no file")
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest


def _entities(request: DatasetRequest, features_folder: Path) -> pd.DataFrame:
    """Every symbol at every sampled time of every period, ascending by symbol, then time."""
    times = np.concatenate(
        [
            np.arange(
                ceil_to(period.start_ns, request.sample_interval_ns),
                period.end_ns,
                request.sample_interval_ns,
                dtype=np.int64,
            )
            for period in request.periods
        ]
    )
    if len(times) == 0:
        raise InvalidRequest(
            f"periods: must hold at least one sample, was none; {_available(request, features_folder)}"
        )
    return pd.DataFrame(
        {
            "symbol": np.repeat(np.array(request.symbols, object), len(times)),
            "event_timestamp": pd.to_datetime(np.tile(times, len(request.symbols)), utc=True),
        }
    )


def _labels(request: DatasetRequest, entities: pd.DataFrame, features_folder: Path) -> np.ndarray[Any, Any]:
    prices_of = feature_set("labels", [LABEL_PRICE])
    times_ns = _times_ns(entities["event_timestamp"])
    labels = np.full(len(entities), np.nan)
    for symbol in request.symbols:
        rows, _ = read_feature_log(
            features_folder,
            symbol,
            prices_of,
            from_ns=request.periods[0].start_ns,
            to_ns=request.periods[-1].end_ns + request.target.reach_ns + SECOND_NS,
        )
        at = (entities["symbol"] == symbol).to_numpy()
        labels[at] = regression_labels(times_ns[at], rows.row_ns, rows.values[:, 0], request.target)
    return labels


def _times_ns(times: pd.Series[pd.Timestamp]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ns]").view(np.int64)


def _write(path: Path, rows: pd.DataFrame, chosen: FeatureSet) -> None:
    # An unknown value stays NaN in the file, as it was served; pandas' own conversion would make it null.
    columns: dict[str, pa.Array[Any]] = {
        "symbol": pa.array(rows["symbol"].to_numpy(), pa.string()),
        "timestamp": pa.array(_times_ns(rows["timestamp"]), pa.timestamp("ns", "UTC")),
        **{name: pa.array(rows[name].to_numpy(np.float64), pa.float64()) for name in (*chosen.columns, "target")},
    }
    table = pa.table(columns).replace_schema_metadata(
        {"feature_registry_version": chosen.version, "feature_set": chosen.fingerprint}
    )
    unfinished = path.with_name(f".{path.name}")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)


def _proof(split: Split, later: list[Split]) -> dict[str, Any]:
    """What shows that no label of the split reaches into a later one."""
    next_start_ns = later[0].period.start_ns if later else None
    return {
        "name": split.period.name,
        "start": format_iso(split.period.start_ns),
        "end": format_iso(split.period.end_ns),
        "records": len(split.rows),
        "purged": split.purged,
        "embargoed": split.embargoed,
        "last_label_end": None if split.last_label_ns is None else format_iso(split.last_label_ns),
        "next_start": None if next_start_ns is None else format_iso(next_start_ns),
        "overlaps_next": next_start_ns is not None
        and split.last_label_ns is not None
        and split.last_label_ns >= next_start_ns,
    }


def _describe(request: DatasetRequest) -> dict[str, Any]:
    return {
        "symbols": list(request.symbols),
        "periods": [
            {"name": period.name, "start": format_iso(period.start_ns), "end": format_iso(period.end_ns)}
            for period in request.periods
        ],
        "target": {
            "type": "regression",
            "price": LABEL_PRICE,
            "horizon_seconds": request.target.horizon_ns // SECOND_NS,
            "delay_seconds": request.target.delay_ns // SECOND_NS,
        },
        "sample_interval_seconds": request.sample_interval_ns // SECOND_NS,
        "purge": request.purge,
        "embargo_seconds": request.embargo_ns // SECOND_NS,
    }


def _available(request: DatasetRequest, features_folder: Path) -> str:
    """The period for which each symbol has rows, as text for an error."""
    prices_of = feature_set("labels", [LABEL_PRICE])
    known = []
    for symbol in request.symbols:
        try:
            rows, _ = read_feature_log(features_folder, symbol, prices_of, from_ns=None, to_ns=None)
        except NotFound:
            known.append(f"{symbol} has no rows")
        else:
            first, last = int(rows.row_ns[0]), int(rows.row_ns[-1])
            known.append(f"{symbol} has rows from {format_iso(first)} to {format_iso(last)}")
    return ", ".join(known)
