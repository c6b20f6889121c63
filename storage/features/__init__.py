"""The feature log: served and rebuilt rows in Parquet."""
