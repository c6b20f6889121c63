"""Bybit's public WebSocket and REST, read without a gateway."""
