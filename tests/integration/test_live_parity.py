"""Parity of a folder whose worker goes on writing: what is on the open tape alone is compared too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from runtime.cli import app
from runtime.commands.options import settings_for
from storage.features.log import FeatureLog
from storage.places import local
from tests.half_compacted import half_compacted
from transforms.kernel import Kernel, compile_kernel

START_NS = parse_iso_ns("2026-01-05T12:00:00")
VERSION = "1.0.0"


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version(VERSION).feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, kernel: Kernel) -> Iterator[Path]:
    """A folder of two runs: the first one ended and is compacted, the second one still has its tape open."""
    folder = tmp_path_factory.mktemp("live")
    cut_ns = 70 * SECOND_NS
    with half_compacted(
        settings_for(folder), kernel, DEFAULT_SYMBOLS, start_ns=START_NS, cut_ns=cut_ns, duration_ns=2 * MINUTE_NS
    ):
        yield folder


@pytest.fixture
def harmed(live: Path, tmp_path: Path) -> Path:
    """A copy of the folder as the worker has left it by now, for a test that changes it."""
    return shutil.copytree(live, tmp_path / "harmed")


def verify(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", "parity", "--registry", VERSION, "--data", str(folder), *arguments])


def test_rows_whose_messages_are_only_on_the_open_tape_are_compared_with_the_others(live: Path, kernel: Kernel) -> None:
    done = verify(live, "--json")
    found = json.loads(done.stdout)
    assert (found["mismatched"], found["missing"], found["extra"], found["not_compared"]) == (0, 0, 0, [])
    folder = settings_for(live).feature_log_storage_path
    served = [
        FeatureLog(folder).read(symbol, kernel.feature_set, from_ns=None, to_ns=None)[0]
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    assert found["compared"] == sum(map(len, served)) > 200
    assert done.exit_code == 0


def test_a_folder_without_raw_parquet_is_compared_by_its_tape_and_one_without_either_says_why(harmed: Path) -> None:
    raw = settings_for(harmed).raw_folder
    with_parquet = json.loads(verify(harmed, "--json").stdout)
    shutil.rmtree(raw / "manifest")
    assert json.loads(verify(harmed, "--json").stdout) == with_parquet
    (raw / "tape").rename(raw / "away")
    done = verify(harmed, "--json")
    (raw / "away").rename(raw / "tape")
    found = json.loads(done.stdout)
    assert (found["compared"], done.exit_code) == (0, 1)
    assert [reason.split(":")[0] for reason in found["not_compared"]] == ["BTCUSDT", "ETHUSDT"]
    assert all("raw Parquet of" in reason for reason in found["not_compared"])


def test_a_flipped_bit_of_a_served_row_on_the_open_tape_is_found_with_its_messages(
    harmed: Path, kernel: Kernel
) -> None:
    log = local(settings_for(harmed).feature_log_storage_path)
    [path] = [
        path
        for path in log.glob("price/*/symbol=BTCUSDT/*/part-*.parquet")
        if path.name > f"part-{START_NS + 70 * SECOND_NS}"
    ]
    table = pq.read_table(path, partitioning=None)
    at = table.schema.get_field_index("mid_price")
    values = table.column(at).to_numpy().copy()
    values[3] = np.nextafter(values[3], np.inf)
    pq.write_table(table.set_column(at, "mid_price", pa.array(values)), path)
    done = verify(harmed, "--json")
    found = json.loads(done.stdout)
    assert (found["mismatched"], done.exit_code) == (1, 1)
    assert found["first_divergence"]["feature"] == "mid_price"
    assert len(found["first_divergence"]["messages"]) > 2


def test_a_symbol_that_was_never_served_is_no_failure_unless_it_is_asked_for(live: Path) -> None:
    assert verify(live).exit_code == 0
    done = verify(live, "--symbol", "SOLUSDT", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["not_compared"] == [f"SOLUSDT: no row of registry {VERSION} was served"]
