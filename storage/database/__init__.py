"""PostgreSQL: schema, metadata, leases, job queue."""
