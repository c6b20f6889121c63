"""Bybit: its wire types, decoding and topics, its public WebSocket and REST, read without a gateway."""
