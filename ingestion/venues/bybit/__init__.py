"""Bybit: its wire types, decoding and topics, and its public WebSocket and REST, read without a gateway."""
