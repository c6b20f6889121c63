"""History that was not lived: from the exchange's REST interface and archives into raw Parquet, day by day."""
