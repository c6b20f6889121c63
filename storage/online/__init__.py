"""The online store: each symbol's newest row in Redis, as Feast's fields and as a packed vector."""
