"""The online store: Feast's fields in Redis and the packed vector beside them."""
