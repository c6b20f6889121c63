"""Upkeep: what a running service does for itself, so that nobody has to type it."""
