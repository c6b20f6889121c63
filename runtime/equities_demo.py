"""The demonstration on shares: from a table of daily bars to features online and historical, and their proof.

1. Embedded Redis and PostgreSQL start in the folder, and the definitions are registered with Feast.
2. Thirteen years of real daily bars of two shares are added as a table, moved so that they end with the present week.
3. Their features are computed into the feature log, and what is newest is materialized to Redis by Feast.
4. The client reads them online as of now, and historical ones as they were known at a time, before and after a close.
"""

from __future__ import annotations

import csv
import gzip
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from market.clock import SystemClock, to_datetime
from runtime.commands.progress import Steps
from runtime.settings import Settings

EXAMPLE: Final = Path(__file__).with_name("example_tables")
SYMBOLS: Final = ("AAPL", "MSFT")
REFERENCES: Final = (
    "price_volume_features:close_price",
    "price_volume_features:returns_20d",
    "price_volume_features:volatility_20d",
    "price_volume_features:vwap",
    "momentum_features:rsi_14",
    "momentum_features:momentum_12m",
    "momentum_features:high_52w_position",
    "liquidity_features:bid_ask_spread_bps",
    "liquidity_features:amihud_illiquidity",
    "liquidity_features:liquidity_regime",
)


def write_example(folder: Path, *, last_day: date) -> Path:
    """The example's bars and their mapping, moved by whole weeks to end by ``last_day``; gives the mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = Path(shutil.copy(EXAMPLE / "daily_bars.yaml", folder))
    with gzip.open(EXAMPLE / "daily_bars.csv.gz", "rt", encoding="utf-8") as file:
        bars = list(csv.DictReader(file))
    newest = date.fromisoformat(max(bar["date"] for bar in bars))
    moved = timedelta(weeks=(last_day - newest).days // 7)
    with gzip.open(folder / "daily_bars.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(bars[0]))
        writer.writeheader()
        for bar in bars:
            writer.writerow(bar | {"date": (date.fromisoformat(bar["date"]) + moved).isoformat()})
    return mapping


def run_equities_demo(settings: Settings, *, steps: Steps) -> dict[str, Any]:
    """Run the demonstration in the settings' folders; everything it started has stopped when it returns."""
    from feature_repo.materializing import materialize_unpushed
    from feature_repo.store import closing_registry
    from runtime.feature_repository import apply_feature_store, feature_store
    from runtime.servers import running_servers
    from runtime.tables import compute_tables, tables_folder
    from storage.tables.computing import add_table

    clock = SystemClock()
    now = to_datetime(clock.now_ns())
    steps.begin("starting Redis and PostgreSQL")
    with running_servers(settings) as servers:
        steps.begin("registering features with Feast")
        apply_feature_store(settings, servers)
        steps.begin("adding the table of daily bars")
        mapping = write_example(settings.feature_service_data_path / "bars", last_day=now.date() - timedelta(days=1))
        table = add_table(mapping, tables_folder(settings))
        steps.begin("computing features as they became known")
        computed = compute_tables(settings, clock)
        steps.begin("materializing the newest to Redis")
        with closing_registry(feature_store(servers, is_writer=True)) as store:
            materialized = materialize_unpushed(store, now, before_each=lambda _: None)["materialized"]
        steps.begin("reading features")
        read = _read(settings.feature_service_data_path / "historical", now=now)
    bars = {"rows": table.report.rows, "keys": table.report.keys, "refused": sum(table.report.refused.values())}
    return {"table": bars, "computed": computed, "materialized": materialized, **read}


def _read(repo_path: Path, *, now: datetime) -> dict[str, Any]:
    import pandas as pd

    from feature_client import FeatureStoreClient

    client = FeatureStoreClient(repo_path=repo_path)
    try:
        rows = [{"symbol": symbol} for symbol in SYMBOLS]
        online = client.get_online_features(REFERENCES, rows, as_of_timestamp=now)
        # A Wednesday's close is known at 16:15 in New York: before it, Tuesday's answers.
        wednesday = pd.Timestamp(now.date() - timedelta(days=7 + (now.weekday() - 2) % 7), tz="America/New_York")
        asked = [wednesday + pd.Timedelta(hours=hours) for hours in (14.5, 16.2, 16.25, 20)]
        entity_df = pd.DataFrame({"symbol": "AAPL", "event_timestamp": asked})
        history = client.get_historical_features(entity_df, [REFERENCES[0], REFERENCES[4]])
        coverage = client.validate_feature_coverage(REFERENCES, rows)
        return {
            "online": {
                symbol: {reference: feature.value for reference, feature in found.items()}
                for symbol, found in zip(SYMBOLS, online.features, strict=True)
            },
            "history": [
                {
                    "asked": str(row.event_timestamp),
                    "close_price": row.close_price,
                    "rsi_14": row.rsi_14,
                }
                for row in history.to_df().itertuples()
            ],
            "is_proven": history.pit_report.is_proven,
            "missing": {f"{reference} of {symbol}": reason for (symbol, reference), reason in coverage.missing.items()},
            "freshness": {
                symbol: str(each.age) for symbol, each in client.get_feature_freshness("price_volume_features").items()
            },
            "latency_ms": client.get_retrieval_stats(window_minutes=60).latency_ms,
        }
    finally:
        client.close()
