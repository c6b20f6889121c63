"""Raw Parquet: the records of finished tape segments, and the manifest that names them."""
