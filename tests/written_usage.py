"""How the equity store is used, as it is written for its users; a test runs the text."""

from __future__ import annotations

USAGE = """
from feature_client import FeatureStoreClient

client = FeatureStoreClient(repo_path="feature_repo")

# Online features (for inference)
features = client.get_online_features(
    feature_refs=[
        "price_volume_features:close_price",
        "momentum_features:rsi_14",
        "liquidity_features:bid_ask_spread_bps"
    ],
    entity_rows=[{"symbol": "AAPL"}],
    as_of_timestamp=datetime.now()  # PIT compliance
)

# Historical features (for training)
entity_df = pd.DataFrame({
    "symbol": ["AAPL", "MSFT"] * 100,
    "event_timestamp": pd.date_range("2024-01-01", periods=200, freq="1H")
})

training_data = client.get_historical_features(
    entity_df=entity_df,
    feature_refs=["price_volume_features:close_price"]
)

# Check freshness
freshness = client.get_feature_freshness("price_volume_features")

# Check coverage
coverage = client.validate_feature_coverage(
    feature_refs=["price_volume_features:close_price"],
    entity_rows=[{"symbol": s} for s in ["AAPL", "MSFT"]]
)

# Retrieval stats
stats = client.get_retrieval_stats(window_minutes=60)
"""
