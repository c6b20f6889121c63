"""Views that others defined are read beside ours, by their own keys and for their own time to live."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

from feature_client import FeatureStoreClient, LookAheadError
from feature_repo.store import GUARD_NAME
from market.clock import SECOND_NS, ManualClock, to_datetime
from market.errors import InvalidRequest
from storage.online.store import OnlineStore
from tests.client_rows import entities, put
from tests.three_features import B


class Fees:
    """Two views that somebody else defined and materialized: by symbol, and by venue."""

    def __init__(self, repo_path: Path) -> None:
        venue, symbol = (Entity(name=name, value_type=ValueType.STRING) for name in ("venue", "symbol"))
        source = FileSource(name="fees", path=str(repo_path / "fees.parquet"), timestamp_field="event_timestamp")
        by_symbol = FeatureView(
            name="fees",
            entities=[symbol],
            schema=[Field(name="maker", dtype=Float64), Field(name="tier", dtype=String)],
            source=source,
            ttl=timedelta(minutes=5),
        )
        by_venue = FeatureView(
            name="venues", entities=[venue], schema=[Field(name="country", dtype=String)], source=source
        )
        (repo_path / GUARD_NAME).unlink(missing_ok=True)
        self.store = FeatureStore(str(repo_path))
        self.store.apply([venue, symbol, by_symbol, by_venue])

    def write(self, view: str, **columns: object) -> None:
        self.store.write_to_online_store(view, pd.DataFrame({name: [value] for name, value in columns.items()}))


@pytest.fixture
def fees(repo_path: Path) -> Fees:
    return Fees(repo_path)


def test_views_of_others_are_read_beside_ours_by_their_own_keys(
    writer: OnlineStore, client: FeatureStoreClient, fees: Fees
) -> None:
    put(writer, [1.5, 2.5, 3.5])
    fees.write("fees", symbol="BTCUSDT", maker=0.25, tier=None, event_timestamp=to_datetime(B - SECOND_NS))
    fees.write("venues", venue="bybit", country="SG", event_timestamp=to_datetime(B))
    references = ["fees:maker", "price:mid_price", "venues:country", "fees:tier"]
    rows = [{"symbol": "BTCUSDT", "venue": "bybit"}, {"symbol": "NOSUCH", "venue": "moon"}]
    found = client.get_online_features(references, rows)
    assert found.to_dict() == {
        "symbol": ["BTCUSDT", "NOSUCH"],
        "venue": ["bybit", "moon"],
        "maker": [0.25, None],
        "mid_price": [1.5, None],
        "country": ["SG", None],
        "tier": [None, None],
    }
    known, unknown = found.features
    assert known["fees:maker"] == (0.25, "PRESENT", None, timedelta(seconds=2), None)
    assert known["fees:tier"] == (None, "MISSING", "null in the newest row", timedelta(seconds=2), None)
    assert {feature.status for feature in unknown.values()} == {"UNKNOWN_ENTITY"}
    # A row of another entity alone needs no symbol.
    [only] = client.get_online_features(["venues:country"], [{"venue": "bybit"}]).features
    assert only["venues:country"].value == "SG"
    coverage = client.validate_feature_coverage(["venues:country"], [{"venue": "bybit"}, {"venue": "moon"}])
    assert coverage.coverage == {"venues:country": 0.5}
    assert coverage.missing == {("venue=moon", "venues:country"): "the entity has no row"}


def test_views_of_others_have_their_time_to_live_and_are_not_read_ahead(
    client: FeatureStoreClient, clock: ManualClock, fees: Fees
) -> None:
    fees.write("fees", symbol="BTCUSDT", maker=0.25, tier="a", event_timestamp=to_datetime(B))
    with pytest.raises(LookAheadError, match=r"fees:maker of .*BTCUSDT.*: must be known at as_of_timestamp"):
        client.get_online_features(["fees:maker"], entities("BTCUSDT"), as_of_timestamp=to_datetime(B - SECOND_NS))
    assert not client.get_feature_freshness("fees", ["BTCUSDT"])["BTCUSDT"].is_stale
    clock.set(B + 301 * SECOND_NS)
    [found] = client.get_online_features(["fees:maker"], entities("BTCUSDT")).features
    assert (found["fees:maker"].value, found["fees:maker"].status) == (0.25, "STALE")
    fresh = client.get_feature_freshness("fees")
    assert {symbol: each.is_stale for symbol, each in fresh.items()} == {"BTCUSDT": True}


@pytest.mark.parametrize(
    ("references", "row", "said"),
    [
        (["fees:taker"], {"symbol": "BTCUSDT"}, "fees:taker"),
        (["nothing:maker"], {"symbol": "BTCUSDT"}, "nothing:maker"),
        (["venues:country"], {"symbol": "BTCUSDT"}, "entity_rows: must have venue, a key of venues, was"),
        (["fees:maker", "price:mid_price"], {"venue": "bybit"}, "entity_rows: must hold .*symbol"),
    ],
)
@pytest.mark.usefixtures("fees")
def test_what_a_view_of_others_has_not_is_refused_by_name(
    client: FeatureStoreClient, references: list[str], row: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        client.get_online_features(references, [row])
