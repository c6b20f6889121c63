"""A dataset in frames: what the manifest names, from Parquet and from CSV, and nothing that it does not state."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from feature_client import Dataset
from feature_client.downloads import downloaded
from market.clock import MINUTE_NS
from market.errors import CorruptStore, InvalidRequest, NotFound, StoreUnavailable
from training_sets.dataset.files import SUFFIX, table_schema, write_batches
from training_sets.dataset.manifest import column_roles, write_manifest
from training_sets.provenance import file_entry
from training_sets.request.folds import Period, TimeBased
from training_sets.request.request import DatasetRequest, OutputFormat
from training_sets.request.targets import TripleBarrierTarget

HOUR_NS = 60 * MINUTE_NS
TIMES = np.array([1_772_000_000_000_000_000, 1_772_000_000_100_000_000], np.int64)
MISREAD = 0.00034558419206647785
"""pandas' default parser reads its shortest text as the next float."""
REQUEST = DatasetRequest(
    symbols=("BTCUSDT",),
    strategy=TimeBased(
        tuple(Period(name, at * HOUR_NS, (at + 1) * HOUR_NS) for at, name in enumerate(("train", "validation", "test")))
    ),
    targets=(TripleBarrierTarget(1_000_000_000, name="hit"),),
    registry_version="1.0.0",
)


def written(folder: Path, output_format: OutputFormat, symbol: str = "BTCUSDT") -> Dataset:
    schema = table_schema(["mid", "gone_t1", "hit"], has_fold=False, metadata={}, barriers=["hit"])
    times = pa.array(TIMES).cast(pa.timestamp("ns", "UTC"))
    values = [pa.array([MISREAD, np.nan], from_pandas=False), pa.array([2.0, 3.0]), pa.array([1.0, -1.0])]
    columns: list[pa.Array[Any]] = [pa.array([symbol] * 2), times, *values, times, pa.array(["upper", "lower"])]
    path = folder / f"train{SUFFIX[output_format]}"
    assert write_batches(path, schema, [pa.record_batch(columns, schema=schema)]) == 2
    manifest = {
        "files": {"train": file_entry(path, folder)},
        "columns": schema.names,
        "column_roles": column_roles(schema.names, REQUEST),
    }
    write_manifest(folder, manifest)
    return Dataset.open(folder)


@pytest.mark.parametrize("output_format", get_args(OutputFormat))
def test_a_split_is_features_and_targets_by_keys_to_the_bit(tmp_path: Path, output_format: OutputFormat) -> None:
    dataset = written(tmp_path, output_format)
    features, targets = dataset.load("train")
    assert list(features) == dataset.feature_columns == ["mid", "gone_t1"]
    assert list(targets) == dataset.target_columns == ["hit"]
    np.testing.assert_array_equal(features.to_numpy(), [[MISREAD, 2.0], [np.nan, 3.0]])
    assert features.index.get_level_values("timestamp").astype("int64").tolist() == TIMES.tolist()
    assert features.index.equals(targets.index)
    assert dataset.weights().shape == (2, 0)
    assert dataset.frame()["hit_t1"].astype("int64").tolist() == TIMES.tolist()


def test_a_symbol_that_is_spelled_like_a_missing_value_is_one(tmp_path: Path) -> None:
    features, _ = written(tmp_path, "csv", symbol="NA").load("train")
    assert features.index.get_level_values("symbol").tolist() == ["NA", "NA"]
    assert features["mid"].isna().tolist() == [False, True]


class Served(BaseHTTPRequestHandler):
    """A service's download of one dataset; what ``answer`` writes."""

    answer: Callable[[BaseHTTPRequestHandler], None]

    def do_GET(self) -> None:  # the name that http.server calls
        type(self).answer(self)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def service(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (Served,), {"answer": staticmethod(answer)}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def zipped(folder: Path) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    return held.getvalue()


def test_processes_that_download_one_dataset_at_a_time_all_get_it(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    written(served, "parquet")
    content = zipped(served)
    cache = tmp_path / "cache"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        written_first = cache / "ds-1"  # another process is done while this one downloads
        written_first.mkdir()
        (written_first / "train.parquet").write_bytes(b"whole")
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    with service(answer) as url:
        assert downloaded(url, "ds-1", api_key=None, folder=cache) == cache / "ds-1"
    assert (cache / "ds-1" / "train.parquet").read_bytes() == b"whole"
    assert [path.name for path in cache.iterdir()] == ["ds-1"]


def test_a_download_that_breaks_off_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"400\r\nPK")
        handler.close_connection = True

    with service(answer) as url, pytest.raises(StoreUnavailable, match="no whole response"):
        downloaded(url, "ds-1", api_key=None, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_stated_or_was_changed_is_not_read(tmp_path: Path) -> None:
    dataset = written(tmp_path, "parquet")
    with pytest.raises(NotFound, match="split: must be one of train, was 'test'"):
        dataset.load("test")
    with pytest.raises(NotFound, match="fold-000/train"):
        dataset.load("train", fold=0)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptStore, match="was changed"):
        dataset.load("train")
    write_manifest(tmp_path, {"files": {}})
    with pytest.raises(InvalidRequest, match="column_roles"):
        Dataset.open(tmp_path)
