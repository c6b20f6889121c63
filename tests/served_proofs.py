"""Vectors that readers were given, held to the rows computed again, to retrieval and to a dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_client import FeatureStoreClient
from ingestion.tape.compaction import compact_tape
from market.clock import SECOND_NS, ceil_to, floor_to
from runtime.building import build_place
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.stores import open_stores
from storage.features.log import FeatureLog
from storage.features.served_ticks import read_served_ticks, row_digest
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.served import Reading
from training_sets.builds.builder import build_dataset
from training_sets.rebuild.rebuild import rebuild_rows_at
from training_sets.request.folds import Period, TimeBased
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.kernel import Kernel
from transforms.rows import FeatureRows
from transforms.state import ORDER_NS

Int64s = npt.NDArray[np.int64]


def recomputed(raw: Path, symbol: str, kernel: Kernel, row_ns: set[int]) -> dict[int, FeatureRows]:
    """The rows at these times, each computed again from the raw data of the tape, which nobody writes any more."""
    compact_tape(raw, symbol, InstrumentPins(raw))
    # A rebuild begins within the raw data; rows of the silence behind it follow.
    _, last_ns = RawData(raw).period(symbol)
    times = np.array(sorted(row_ns | {floor_to(last_ns, ORDER_NS)}), np.int64)
    rows = rebuild_rows_at(RawData(raw), symbol, kernel, times)
    assert rows.row_ns.tolist() == times.tolist()
    found = {}
    for at, time_ns in enumerate(times.tolist()):
        if time_ns not in row_ns:
            continue
        one = slice(at, at + 1)
        found[time_ns] = FeatureRows(symbol, rows.feature_set, times[one], rows.values[one], rows.status[one])
    return found


def assert_proven(settings: Settings, servers: Servers, kernel: Kernel, readings: list[Reading]) -> None:
    """Each vector is, bit for bit, the row of its own time, on record as served; none is dated after its reading.

    Historical retrieval and a dataset of samples at those moments give the same vector, of the same row.
    """
    moments: dict[str, Int64s] = {}
    for symbol in settings.feature_service_symbols:
        read = [reading for reading in readings if reading.symbol == symbol]
        rows = recomputed(settings.raw_folder, symbol, kernel, {reading.row_ns for reading in read})
        for reading in read:
            assert reading.row_ns <= reading.read_ns, reading
            assert_same_bits(reading, kernel.feature_set.columns, rows[reading.row_ns].values[0])
        given_ns, available_ns, digest = read_served_ticks(
            FeatureLog(settings.feature_log_storage_path),
            symbol,
            from_ns=min(rows),
            to_ns=max(rows) + 1,
            feature_set=kernel.feature_set.fingerprint,
        )
        assert (available_ns >= given_ns).all()
        on_record = dict(zip(given_ns.tolist(), digest.tolist(), strict=True))
        assert {time_ns: int(row_digest(row)[0]) for time_ns, row in rows.items()}.items() <= on_record.items()
        # On its way to its readers a row may be read by one before all can: it is asked for when they can.
        since_ns = dict(zip(given_ns.tolist(), available_ns.tolist(), strict=True))
        moments[symbol] = np.array([max(reading.asked_ns, since_ns[reading.row_ns]) for reading in read], np.int64)
    for symbol, times_ns in moments.items():
        read = [reading for reading in readings if reading.symbol == symbol]
        assert np.mean([reading.asked_ns in (0, at) for reading, at in zip(read, times_ns, strict=True)]) > 0.5
        assert_retrieved(settings, kernel, symbol, read, times_ns)
    assert_sampled(settings, servers, kernel, readings, moments)


def assert_same_bits(reading: Reading, columns: Sequence[str], expected: npt.NDArray[np.float64]) -> None:
    known = dict(zip(columns, expected.tolist(), strict=True))
    assert set(reading.values) <= set(known)
    for name, value in reading.values.items():
        is_same = math.isnan(known[name]) if value is None else value.hex() == known[name].hex()
        assert is_same, (reading.way, reading.symbol, reading.row_ns, name, value, known[name])


def assert_retrieved(
    settings: Settings, kernel: Kernel, symbol: str, readings: list[Reading], times_ns: Int64s
) -> None:
    """``get_historical_features`` at each reading's moment gives its vector."""
    columns = kernel.feature_set.columns
    references = [f"{group.name}:{column}" for group in kernel.feature_set.groups for column in group.columns]
    client = FeatureStoreClient(settings.feature_service_data_path / "historical")
    entities = pd.DataFrame({"symbol": symbol, "event_timestamp": pd.to_datetime(times_ns, utc=True)})
    found = client.get_historical_features(entities, references)
    assert found.pit_report.is_proven
    assert all(view.found == len(readings) for view in found.pit_report.views.values())
    for reading, values in zip(readings, found.to_df()[list(columns)].to_numpy(), strict=True):
        assert_same_bits(reading, columns, values)
    client.close()


def assert_sampled(
    settings: Settings, servers: Servers, kernel: Kernel, readings: list[Reading], moments: Mapping[str, Int64s]
) -> None:
    """A dataset of samples at the moments has each reading's vector, where the price of its label is known."""
    columns = kernel.feature_set.columns
    times_ns = np.unique(np.concatenate(list(moments.values())))
    begin_ns, end_ns = floor_to(int(times_ns[0]), SECOND_NS), ceil_to(int(times_ns[-1]) + 1, SECOND_NS)
    third_ns = floor_to((end_ns - begin_ns) // 3, SECOND_NS)
    request = DatasetRequest(
        symbols=settings.feature_service_symbols,
        strategy=TimeBased(
            (
                Period("train", begin_ns, begin_ns + third_ns),
                Period("validation", begin_ns + third_ns, begin_ns + 2 * third_ns),
                Period("test", begin_ns + 2 * third_ns, end_ns),
            )
        ),
        targets=(RegressionTarget(SECOND_NS),),
        registry_version=kernel.feature_set.version,
        sample_kind="at_time",
        sample_times_ns=tuple(times_ns.tolist()),
        purge=False,
        check_leakage=False,
    )
    place = build_place(settings, servers, open_stores(settings), engine=None)
    place = replace(place, rules=replace(place.rules, has_quality_gate=False))
    built = build_dataset(request, place, settings.feature_service_data_path / "asked")
    samples: dict[tuple[str, int], npt.NDArray[np.float64]] = {}
    for split in ("train", "validation", "test"):
        table = pq.read_table(built.path / f"{split}.parquet")
        keys = zip(map(str, table["symbol"].to_pylist()), table["timestamp"].cast(pa.int64()).to_numpy(), strict=True)
        values = np.column_stack([table[name].to_numpy() for name in columns])
        samples |= dict(zip(keys, values, strict=True))
    compared = 0
    for symbol, at_ns in moments.items():
        read = [reading for reading in readings if reading.symbol == symbol]
        for reading, time_ns in zip(read, at_ns.tolist(), strict=True):
            if (symbol, time_ns) in samples:
                assert_same_bits(reading, columns, samples[symbol, time_ns])
                compared += 1
    assert compared > len(readings) / 2, "the last readings have no label, and the first may have no price"
