"""What is made of a finished tape: compaction to raw Parquet, and the report on both."""
