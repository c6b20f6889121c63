"""Which feature set answers a retrieval of ticks, and what is refused: rows without raw data, columns of no version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_repo.as_of_join import NULL_NS
from feature_repo.registry_versions import LATEST, SHIPPED_FOLDER, load_registry_version, registry_versions
from feature_repo.tick_join import WantedColumns
from market.clock import SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.raw.raw_data import RawData
from training_sets.rebuild.raw_history import RawHistory
from training_sets.samples.given_ticks import GivenTicks, smallest_set_with
from transforms.catalogue import group_fingerprint
from transforms.rows import FeatureRows, FeatureSet

B = parse_iso_ns("2026-01-05T12:00:00")
MID = (WantedColumns("price", group_fingerprint("price"), ("mid_price",)),)


def wanted_of(chosen: FeatureSet) -> tuple[WantedColumns, ...]:
    return tuple(WantedColumns(group.name, group.fingerprint, group.columns) for group in chosen.groups)


@pytest.mark.parametrize("version", [registry_versions()[0], LATEST])
def test_all_columns_of_a_version_are_answered_by_a_set_that_has_no_others(version: str) -> None:
    chosen = load_registry_version(version).feature_set
    assert sorted(smallest_set_with(wanted_of(chosen), SHIPPED_FOLDER).columns) == sorted(chosen.columns)


def test_columns_that_no_version_has_together_or_of_other_code_are_refused() -> None:
    for wanted in (
        WantedColumns("price", "other code", ("mid_price",)),
        WantedColumns("price", group_fingerprint("price"), ("mid_price", "no_such")),
    ):
        with pytest.raises(InvalidRequest, match="feature views price: must all be of one registry version"):
            smallest_set_with((wanted,), SHIPPED_FOLDER)


def test_a_symbol_that_nothing_is_known_of_has_no_row_and_rows_without_their_raw_data_are_an_error(
    tmp_path: Path, kernel_cache: Path
) -> None:
    given = GivenTicks(
        features=FeatureLog(tmp_path / "features"),
        raw=RawHistory.of(RawData(tmp_path / "raw")),
        versions_folder=SHIPPED_FOLDER,
        kernels_folder=kernel_cache,
        grid_ns=SECOND_NS,
    )
    times_ns = np.array([B - SECOND_NS, B + 5, B + 5], np.int64)
    ticks = given.newest("BTCUSDT", times_ns, MID, has_values=True)
    assert ticks.row_ns.tolist() == ticks.available_ns.tolist() == [NULL_NS] * 3
    assert ticks.values.shape == (3, 1)
    chosen = smallest_set_with(MID, SHIPPED_FOLDER)
    log = FeatureLogWriter(tmp_path / "features")
    rows = FeatureRows(
        "BTCUSDT",
        chosen,
        np.array([B], np.int64),
        np.ones((1, len(chosen.columns))),
        np.zeros((1, len(chosen.groups)), np.int8),
    )
    log.append(rows, rows.row_ns)
    log.close()
    with pytest.raises(InvalidRequest, match="BTCUSDT: must have raw data of 2026-01-05T12:00:00"):
        given.newest("BTCUSDT", times_ns, MID, has_values=False)
    before = given.newest("BTCUSDT", times_ns[:1], MID, has_values=False)
    assert (before.row_ns.tolist(), before.values.shape) == ([NULL_NS], (1, 0))
