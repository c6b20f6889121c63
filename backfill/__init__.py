"""History that was not received live: from the exchange's REST interface and archives into raw Parquet, day by day."""
