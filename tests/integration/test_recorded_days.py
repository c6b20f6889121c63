"""Datasets of a real order book over midnight: labels are of its mids, and what was served is not rebuilt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import RejectedLine
from ingestion.sources.played.recordings import read_recording
from ingestion.tape.compaction import compact_tape
from ingestion.venues.bybit.decode import Decoder
from market.clock import SECOND_NS
from storage.features.history_lags import AVAILABILITY_DELAY_NS
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter
from tests.build_places import place_in
from tests.integration.test_feature_days import place_of
from tests.real_candles import SYMBOL
from training_sets.builds.builder import build_dataset
from training_sets.rebuild.rebuild import rebuild_rows
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.kernel import compile_kernel

MIDNIGHT = "reencoded/BTCUSDT_20240718-19.jsonl.gz"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, recorded_data: Path) -> Path:
    """The raw folder of a real order book recording over midnight."""
    folder = tmp_path_factory.mktemp("midnight") / "raw"
    pins = InstrumentPins(folder)
    decoder = Decoder(pins)
    with TapeWriter(folder, SYMBOL) as writer:
        for message in read_recording(recorded_data / MIDNIGHT):
            assert not isinstance(message, RejectedLine)
            decoder.decode(message.body)  # pins the scale
            writer.append(message.recv_ns, message.body)
    compact_tape(folder, SYMBOL, pins)
    return folder


def recorded_request(raw: Path) -> DatasetRequest:
    first_ns, last_ns = RawData(raw).period(SYMBOL)
    begin_ns, end_ns = first_ns // SECOND_NS * SECOND_NS + SECOND_NS, last_ns // SECOND_NS * SECOND_NS
    return DatasetRequest(
        (SYMBOL,),
        TimeBased(default_periods(begin_ns, end_ns)),
        (RegressionTarget(30 * SECOND_NS, SECOND_NS),),
        "1.0.0",
    )


def test_a_dataset_of_a_real_order_book_has_the_labels_of_its_mids(
    recording: Path, kernel_cache: Path, tmp_path: Path
) -> None:
    request = recorded_request(recording)
    place = place_in(tmp_path, kernel_cache, raw=recording)
    built = build_dataset(request, place, tmp_path / "dataset")
    assert (built.days_computed, built.days_reused) == (2, 0)
    assert built.manifest["leakage"]["rows_rebuilt_from_their_past"] >= 4
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    rows = rebuild_rows(RawData(recording), SYMBOL, kernel)
    columns = kernel.feature_set.columns
    mids = dict(zip(rows.row_ns.tolist(), rows.values[:, columns.index("mid_price")].tolist(), strict=True))
    counted = built.manifest["rows_without_features"] + built.manifest["rows_without_label"]
    for split in built.manifest["splits"]:
        table = pq.read_table(built.path / f"{split['name']}.parquet")
        counted += split["records"] + split["purged"] + split["embargoed"]
        assert not split["overlaps_next"]
        times_ns = table.column("timestamp").cast(pa.int64()).to_numpy().tolist()
        found = np.stack([table.column(name).to_numpy() for name in columns], axis=1)
        at = np.searchsorted(rows.row_ns, np.array(times_ns))
        assert np.array_equal(found.view(np.int64), rows.values[at].view(np.int64))
        for time_ns, label in zip(times_ns, table.column("target").to_pylist(), strict=True):
            assert time_ns is not None
            assert label == mids[time_ns + 31 * SECOND_NS] / mids[time_ns + SECOND_NS] - 1.0
    assert counted == built.manifest["rows_sampled"]


def test_what_was_served_late_stays_late_and_what_was_served_whole_is_left_alone(
    recording: Path, kernel_cache: Path, tmp_path: Path
) -> None:
    place = place_of(tmp_path, recording, kernel_cache)
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    rows = rebuild_rows(RawData(recording), SYMBOL, kernel)
    late = np.arange(100, 160)
    available_ns: npt.NDArray[np.int64] = rows.row_ns + AVAILABILITY_DELAY_NS
    available_ns[late] = rows.row_ns[late[-1]] + 20 * SECOND_NS
    with FeatureLogWriter(place.features.folder) as log:
        # All of the first day that was recorded, and half of the second.
        served = len(rows) * 3 // 4
        log.append(
            dataclasses.replace(
                rows, row_ns=rows.row_ns[:served], values=rows.values[:served], status=rows.status[:served]
            ),
            available_ns[:served],
        )
    built = build_dataset(recorded_request(recording), place, tmp_path / "dataset")
    assert (built.days_computed, built.days_reused) == (1, 1)
    _, found_ns = FeatureLog(place.features.folder).read(SYMBOL, kernel.feature_set, from_ns=None, to_ns=None)
    assert np.array_equal(found_ns, available_ns)
    # Once more with an outage in the day that is rebuilt: the rebuilt rows are as late as they were served.
    other = place_of(tmp_path / "other", recording, kernel_cache)
    last = np.arange(served - 40, served)
    available_ns[last] = rows.row_ns[last[-1]] + 20 * SECOND_NS
    with FeatureLogWriter(other.features.folder) as log:
        log.append(
            dataclasses.replace(
                rows, row_ns=rows.row_ns[:served], values=rows.values[:served], status=rows.status[:served]
            ),
            available_ns[:served],
        )
    built = build_dataset(recorded_request(recording), other, tmp_path / "late")
    _, found_ns = FeatureLog(other.features.folder).read(SYMBOL, kernel.feature_set, from_ns=None, to_ns=None)
    assert np.array_equal(found_ns, available_ns)
    table = pa.concat_tables(pq.read_table(path) for path in sorted(built.path.glob("*.parquet")))
    times_ns = table.column("timestamp").cast(pa.int64()).to_numpy()
    # Newer rows could be read first: nobody acted on these.
    assert built.manifest["rows_too_late"] == len(late) + len(last)
    assert not np.isin(times_ns, rows.row_ns[np.concatenate([late, last])]).any()
    assert np.isin(times_ns, rows.row_ns[[late[0] - 1, late[-1] + 1, last[0] - 1, last[-1] + 1]]).sum() >= 2
