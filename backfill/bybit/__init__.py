"""Bybit's history: its REST interface and archives, as the messages that its stream would have sent."""
