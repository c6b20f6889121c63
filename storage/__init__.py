"""One file per store: tape, raw Parquet, feature log, online store, metadata."""
