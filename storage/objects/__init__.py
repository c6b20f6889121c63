"""Files in an object store that speaks S3: folders that name their files, and a lease in the place of a lock."""
