"""Tables published by others, Parquet or CSV, with the times from which their rows could be known."""
