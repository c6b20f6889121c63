"""From raw Parquet to training sets that are free of leakage, and to the proof of it."""
