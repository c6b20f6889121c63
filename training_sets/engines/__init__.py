"""Engines: where tasks run that do not need each other, on this machine or on several."""
