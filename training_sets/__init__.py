"""From raw Parquet to training sets that are free of leakage, with the proof."""
