"""docs/open-tables.md: its commands and its code are run as they stand there, on a database of the test's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from sqlalchemy import make_url

from feature_repo.registry_versions import load_registry_version
from market.clock import SECOND_NS, SystemClock, parse_iso_ns
from market.events import TRADE
from market.instruments import Instrument
from runtime.cli import exit_code
from runtime.servers import Servers
from runtime.settings import load_settings
from runtime.stores import open_stores
from runtime.upkeep import _publish
from storage.features.log import FeatureLogWriter
from storage.raw.parquet import write_events
from tests.duckdb_extensions import loading_extensions
from tests.postgres_servers import new_database, running_postgres
from tests.raw_events import message
from transforms.rows import FeatureRows

PAGE: Final = (Path(__file__).parents[2] / "docs" / "open-tables.md").read_text(encoding="utf-8")
BLOCKS: Final = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
ADDRESS: Final = "postgresql+psycopg://postgres@127.0.0.1:5432/feature_service"
INSTALLING: Final = "INSTALL iceberg; LOAD iceberg"
START_NS: Final = parse_iso_ns("2026-01-05T12:00:00")


@pytest.fixture
def database() -> Iterator[str]:
    with running_postgres("server") as server, new_database(server) as url:
        yield url


def fill(data: Path) -> None:
    chosen = load_registry_version("1.0.0").feature_set
    row_ns = START_NS + np.arange(5) * SECOND_NS
    values = np.tile(np.arange(5.0)[:, None], (1, len(chosen.columns)))
    for again, late_ns in ((0.0, 10_000_000), (100.0, 60 * SECOND_NS)):
        count = 5 if again == 0.0 else 2
        rows = FeatureRows(
            "BTCUSDT", chosen, row_ns[:count], values[:count] + again, np.zeros((count, len(chosen.groups)), np.int8)
        )
        with FeatureLogWriter(data / "features") as log:
            log.append(rows, rows.row_ns + late_ns)
    events = np.concatenate([message(at, START_NS + at, TRADE) for at in range(1, 4)])
    write_events(data / "raw", Instrument("BTCUSDT", 2, 3), events, part="p1")


def test_the_page_does_what_it_says(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path)
    url = make_url(database)
    for name, value in {
        "POSTGRES_HOST": url.host,
        "POSTGRES_PORT": url.port,
        "POSTGRES_USER": url.username,
        "POSTGRES_DB": url.database,
        "REDIS_HOST": "127.0.0.1",
        "POLARS_ICEBERG_PLANNER": "pyiceberg",
    }.items():
        monkeypatch.setenv(name, str(value))
    assert exit_code("iceberg", "publish", "--data", str(tmp_path)) == 1
    assert "FEATURE_SERVICE_ICEBERG_CATALOG: must name the catalogue, was not set" in capsys.readouterr().err

    names: dict[str, Any] = {}
    for kind, text in BLOCKS:
        if kind == "python":
            here = text.replace(ADDRESS, database).replace(INSTALLING, loading_extensions())
            exec(here, names)  # noqa: S102  # the text is the test
            continue
        if kind != "bash":
            continue
        for line in text.splitlines():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                monkeypatch.setenv(name, value)
                continue
            program, *words = line.split()
            assert program == "feature-service"
            assert exit_code(*words, "--data", str(tmp_path)) == 0
    names["catalog"].close()
    assert ADDRESS in PAGE
    assert INSTALLING in PAGE
    assert names["prices"].tolist() == [-0.07] * 3
    assert names["known"]["mid_price"].to_list() == [0.0, 1.0, 2.0]
    assert [value for _, value in names["newest"]] == [100.0, 101.0, 2.0, 3.0, 4.0]
    assert names["then"].num_rows == 7
    assert len(names["stated"]) == 64

    capsys.readouterr()
    assert exit_code("iceberg", "list", "--data", str(tmp_path), "--json") == 0
    listed = {table["name"]: table for table in json.loads(capsys.readouterr().out)}
    assert listed["raw.raw_trades"]["rows"] == 3
    assert {name.partition("_")[0] for name in listed} == {
        "raw.raw",
        *(f"features.{group.name}" for group in load_registry_version("1.0.0").feature_set.groups),
    }


def test_upkeep_publishes_where_a_catalogue_is_named_and_nothing_where_none_is(tmp_path: Path, database: str) -> None:
    fill(tmp_path)
    servers = Servers({}, database)
    told: list[float] = []

    def run(catalog: str | None) -> dict[str, Any]:
        settings = load_settings(
            {"FEATURE_SERVICE_DATA_PATH": str(tmp_path), "FEATURE_SERVICE_ICEBERG_CATALOG": catalog}, env_file=None
        )
        return dict(_publish(settings, servers, open_stores(settings), SystemClock(), told.append))

    assert run(None) == {"tables": 0, "added": 0, "dropped": 0, "expired": 0}
    first = run("market")
    assert first["tables"] == first["added"] / 2 + 0.5  # two parts of each group, one of raw trades
    assert run("market") == {**first, "added": 0}
    assert told[0] == 0.0
