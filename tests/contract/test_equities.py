"""The equity store as its users call it: real daily bars from a table to the client, on a real Redis through Feast."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from feast import FeatureStore
from redis import Redis

from feature_client import FeatureStoreClient, LookAheadError
from feature_repo.apply import apply_definitions
from feature_repo.definitions import definitions
from feature_repo.materializing import materialize_unpushed, materialized_until
from market.clock import DAY_NS, SECOND_NS, to_ns
from runtime.equities_demo import write_example
from storage.online.store import OnlineStore
from storage.online.vector import online_key, shared_key
from storage.tables.computing import add_table, added_table, compute_groups
from storage.tables.feature_log import table_log_folder
from storage.tables.newest_rows import NewestRow, NewestRows
from tests.redis_servers import HOST, PORT, own_project
from tests.written_usage import USAGE
from transforms.catalogue import group_fingerprint
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.table_group import ALL
from upkeep.freshness import TablesWatched, looks_at_tables, online_rows
from upkeep.table_freshness import WatchedView, lost_views


def write_series(folder: Path, now: datetime) -> Path:
    """Three values of VIX, the last known two hours ago and never followed, and one that is not known yet."""
    folder.mkdir()
    hours = {20: 13.5, 10: 14.25, 2: 15.75, -2: 99.0}
    lines = [f"VIX,{(now - timedelta(hours=each)).isoformat()},{value}" for each, value in hours.items()]
    yields = f"DGS10,{(now - timedelta(hours=30)).isoformat()},4.5"
    (folder / "series.csv").write_text("\n".join(["series,at,value", *lines, yields]) + "\n")
    mapping = folder / "macro_series.yaml"
    mapping.write_text(
        "table: macro_series\npath: series.csv\nkey: series\nevent_time: at\nknown_after: 0s\ncolumns: {value: value}\n"
    )
    return mapping


@pytest.fixture(scope="module")
def project() -> Iterator[str]:
    with own_project("equities") as name:
        yield name


@pytest.fixture(scope="module")
def repo(project: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the definitions beside its yaml, and the example table, computed and materialized."""
    folder = tmp_path_factory.mktemp("equities")
    (folder / "feature_repo").mkdir()
    config = {
        "project": project,
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "online_store": {"type": "redis", "connection_string": f"{HOST}:{PORT},db=0"},
        "offline_store": {"type": "feature_repo.offline_store.AsOfOfflineStore"},
        "entity_key_serialization_version": 3,
        "materialization": {"pull_latest_features": True},
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config))
    store = FeatureStore(repo_path=str(folder))
    now = datetime.now(UTC)
    apply_definitions(store, definitions(features_folder=folder / "features"))
    # Nothing was added yet: there is nothing to do, and no error. The newest bar's day has begun, and it is not known.
    assert (
        "price_volume_features"
        in materialize_unpushed(store, now - timedelta(days=1), before_each=lambda _: None)["materialized"]
    )
    mapping = write_example(folder / "bars", last_day=now.date() - timedelta(days=1))
    add_table(mapping, folder / "tables")
    table = added_table(folder / "tables", "daily_bars")
    add_table(write_series(folder / "macro", now), folder / "tables")
    series = added_table(folder / "tables", "macro_series")
    _, done = compute_groups([table, series], folder / "features", now_ns=to_ns(now))
    assert {group: each.rows for group, each in done.items() if "fund" not in group} == {
        "price_volume_features": 6540,
        "momentum_features": 6540,
        "liquidity_features": 6540,
        "macro_features": 4,
    }
    materialize_unpushed(store, now, before_each=lambda _: None)
    return folder


@pytest.mark.filterwarnings("ignore:'H' is deprecated:FutureWarning")  # as it is written
def test_the_usage_that_is_written_runs_as_written(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    names: dict[str, Any] = {"pd": pd, "datetime": datetime}
    exec(textwrap.dedent(USAGE), names)  # noqa: S102  # the text is the test
    [features] = names["features"].features
    assert {reference: feature.status for reference, feature in features.items()} == dict.fromkeys(
        ["price_volume_features:close_price", "momentum_features:rsi_14", "liquidity_features:bid_ask_spread_bps"],
        "PRESENT",
    )
    assert names["features"].to_dict()["close_price"] == [430.47]
    training_data = names["training_data"]
    assert len(training_data.to_df()) == 200
    assert training_data.to_df()["close_price"].notna().all()
    assert training_data.pit_report.is_proven
    assert set(names["freshness"]) == {"AAPL", "MSFT"}
    assert not any(each.is_stale for each in names["freshness"].values())
    assert names["coverage"].is_complete
    assert names["stats"].count == 3
    names["client"].close()


@pytest.mark.soak
def test_the_line_of_the_crontab_runs_as_written_again_and_again(repo: Path) -> None:
    """In the folder of feature_store.yaml; a process that imports Feast each time."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    line = f"cd {repo} && feast materialize-incremental $(date +%Y-%m-%d)"
    for _ in range(2):
        done = subprocess.run(
            ["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr[-3000:]
    client = FeatureStoreClient(repo_path=repo)
    [found] = client.get_online_features(["price_volume_features:close_price"], [{"symbol": "AAPL"}]).features
    assert found["price_volume_features:close_price"].value == 430.47
    client.close()


def test_a_close_is_known_a_quarter_of_an_hour_after_it_and_not_before(repo: Path) -> None:
    client = FeatureStoreClient(repo_path=repo)
    bars = pd.read_csv(repo / "bars" / "daily_bars.csv.gz")
    bars = bars[bars["ticker"] == "AAPL"].reset_index(drop=True)
    at = 2000
    day = pd.Timestamp(bars["date"][at], tz="America/New_York")
    asked = [day + pd.Timedelta(minutes=minutes) for minutes in (870, 974, 975)]
    frame = pd.DataFrame({"symbol": "AAPL", "event_timestamp": asked})
    found = client.get_historical_features(frame, ["price_volume_features:close_price"])
    assert found.to_df()["close_price"].tolist() == [bars["close"][at - 1], bars["close"][at - 1], bars["close"][at]]
    assert found.pit_report.is_proven
    client.close()


def test_a_row_that_was_not_known_at_the_time_asked_for_is_an_error(repo: Path) -> None:
    client = FeatureStoreClient(repo_path=repo)
    bars = pd.read_csv(repo / "bars" / "daily_bars.csv.gz")
    known = pd.Timestamp(bars["date"].max(), tz="America/New_York") + pd.Timedelta(minutes=975)
    arguments: dict[str, Any] = {
        "feature_refs": ["momentum_features:rsi_14"],
        "entity_rows": [{"symbol": "AAPL"}, {"symbol": "NOSUCH"}],
    }
    found = client.get_online_features(**arguments, as_of_timestamp=known.to_pydatetime())
    assert [row["momentum_features:rsi_14"].status for row in found.features] == ["PRESENT", "UNKNOWN_ENTITY"]
    early = (known - pd.Timedelta(microseconds=1)).to_pydatetime()
    with pytest.raises(LookAheadError, match="momentum_features:rsi_14 of AAPL: must be known at as_of_timestamp"):
        client.get_online_features(**arguments, as_of_timestamp=early)
    assert client.get_retrieval_stats().pit_violations == 1
    client.close()


def test_what_is_served_of_tables_is_as_fresh_as_promised(repo: Path, project: str) -> None:
    newest = NewestRows()

    def watched() -> list[WatchedView]:
        folders = {name: table_log_folder(repo / "features", group) for name, group in TABLE_GROUPS.items()}
        return [WatchedView(name, rows) for name, folder in folders.items() if (rows := newest.of(folder))]

    keys = {view.name: set(view.newest) for view in watched()}
    of_bars = ("price_volume_features", "momentum_features", "liquidity_features", "fundamental_features")
    assert keys == {**{view: {"AAPL", "MSFT"} for view in of_bars}, "macro_features": {ALL}}
    settings = {"type": "redis", "connection_string": f"{HOST}:{PORT},db=0"}
    with closing(OnlineStore.connect(settings, project=project)) as online:

        def look(views: list[WatchedView], days: int = 0) -> dict[str, tuple[int, int, int]]:
            looks = looks_at_tables(TablesWatched(views, None), online, now_ns=to_ns(datetime.now(UTC)) + days * DAY_NS)
            return {each.view: (each.looks, each.fresh, each.covered) for each in looks}

        assert look(watched()) == {**dict.fromkeys(of_bars, (2, 2, 2)), "macro_features": (1, 1, 1)}
        # A week on nothing waits, and nothing answers.
        assert look(watched(), days=8)["price_volume_features"] == (2, 2, 0)
        [first, *_] = watched()
        later = {key: NewestRow(row.event_ns, row.created_ns + SECOND_NS) for key, row in first.newest.items()}
        assert look([WatchedView(first.name, later)], days=1)[first.name] == (2, 0, 0)


def test_an_online_store_that_lost_its_rows_gets_them_again(repo: Path, project: str) -> None:
    store, rows = FeatureStore(repo_path=str(repo)), NewestRows()
    views = [
        WatchedView(name, rows.of(table_log_folder(repo / "features", group))) for name, group in TABLE_GROUPS.items()
    ]
    settings = {"type": "redis", "connection_string": f"{HOST}:{PORT},db=0"}
    now = datetime.now(UTC)
    with closing(OnlineStore.connect(settings, project=project)) as online, closing(Redis(HOST, PORT)) as server:

        def lost() -> list[str]:
            until_ns = {name: to_ns(end) for name, end in materialized_until(store).items()}
            return lost_views(views, partial(online_rows, online), until_ns, now_ns=to_ns(now))

        assert lost() == []
        server.delete(online_key("AAPL", project.encode()), shared_key(project.encode()))
        gone = lost()
        assert {"price_volume_features", "momentum_features", "liquidity_features", "macro_features"} <= set(gone)
        materialize_unpushed(store, now, before_each=lambda _: None)
        assert lost() == gone  # Feast's own run goes on from the last
        done = materialize_unpushed(store, now, before_each=lambda _: None, lost=gone)
        assert set(gone) <= set(done["materialized"])
        assert lost() == []


def test_views_of_streams_and_of_tables_are_retrieved_in_one_call(repo: Path) -> None:
    """Each with its own rule: of the stream the row of a second, of a table what was published by then."""
    second = pd.Timestamp("2026-01-06T15:00:00Z")
    folder = repo / "features" / "price" / group_fingerprint("price") / "symbol=AAPL" / f"date={second:%Y-%m-%d}"
    folder.mkdir(parents=True)
    rows = {
        "event_timestamp": [second, second + pd.Timedelta(seconds=1)],
        "created_timestamp": [second + pd.Timedelta(milliseconds=10), second + pd.Timedelta(milliseconds=1_020)],
        "mid_price": [430.0, 431.0],
    }
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows)), folder / "part.parquet")
    asked = [second + pd.Timedelta(milliseconds=each) for each in (9, 10, 1_019, 1_020)]
    frame = pd.DataFrame({"symbol": "AAPL", "event_timestamp": asked})
    references = ["price:mid_price", "price_volume_features:close_price", "macro_features:vix"]
    client = FeatureStoreClient(repo_path=repo)
    found = client.get_historical_features(frame, references)
    history = found.to_df()
    assert history["mid_price"].fillna(0).tolist() == [0, 430.0, 430.0, 431.0]
    bars = pd.read_csv(repo / "bars" / "daily_bars.csv.gz")
    bars = bars[(bars["ticker"] == "AAPL") & (bars["date"] < "2026-01-06")]
    assert history["close_price"].tolist() == [bars["close"].iloc[-1]] * 4
    assert found.pit_report.is_proven
    assert set(found.pit_report.views) == {"price", "price_volume_features", "macro_features"}
    client.close()


def test_what_no_source_gives_says_so(repo: Path) -> None:
    client = FeatureStoreClient(repo_path=repo)
    coverage = client.validate_feature_coverage(["price_volume_features:vwap"], [{"symbol": "AAPL"}])
    assert coverage.missing["AAPL", "price_volume_features:vwap"].startswith("the source gives none")
    client.close()


def test_what_is_the_same_for_every_symbol_needs_none_of_its_own(repo: Path) -> None:
    client = FeatureStoreClient(repo_path=repo)
    references = ["macro_features:vix", "macro_features:treasury_yield_10y", "price_volume_features:close_price"]
    rows = [{"symbol": "AAPL"}, {"symbol": "NOSUCH"}]
    found = client.get_online_features(references, rows)
    assert [row["macro_features:vix"].value for row in found.features] == [15.75, 15.75]
    assert [row["macro_features:treasury_yield_10y"].value for row in found.features] == [4.5, 4.5]
    assert found.features[1]["price_volume_features:close_price"].status == "UNKNOWN_ENTITY"
    now = pd.Timestamp.now("UTC")
    asked = [now - pd.Timedelta(hours=hours) for hours in (40, 15, 5, 0)]
    frame = pd.DataFrame({"symbol": ["AAPL", "AAPL", "NOSUCH", "AAPL"], "event_timestamp": asked})
    history = client.get_historical_features(frame, references)
    assert history.to_df()["vix"].fillna(0).tolist() == [0, 13.5, 14.25, 15.75]
    assert history.pit_report.is_proven
    with pytest.raises(LookAheadError, match="macro_features:vix of AAPL"):
        client.get_online_features(references[:1], rows, as_of_timestamp=(now - pd.Timedelta(hours=3)).to_pydatetime())
    assert set(client.get_feature_freshness("macro_features", ["AAPL", "NOSUCH"])) == {"AAPL", "NOSUCH"}
    client.close()
