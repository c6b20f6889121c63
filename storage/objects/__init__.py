"""Files in an S3-compatible object store: folders that name their files, and a lease instead of a lock."""
