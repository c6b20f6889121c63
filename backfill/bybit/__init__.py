"""Bybit's history: its REST interface and its archives, as the messages that its stream would have brought."""
