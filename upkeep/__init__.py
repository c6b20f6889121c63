"""Upkeep: what a running service does automatically."""
