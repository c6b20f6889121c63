"""The HTTP API: its routes, and errors as responses."""
