"""Tables that others publish, Parquet or CSV, with when their rows could be known, and features of them."""
