"""Feature rows recomputed from raw Parquet, a symbol and day at a time."""
