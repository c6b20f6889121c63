"""Engines: where independent tasks run, on one machine or several."""
