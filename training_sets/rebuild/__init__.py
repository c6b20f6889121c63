"""Feature rows computed again from raw Parquet, a symbol and day at a time."""
