"""Decoding that is the same at every venue: scales, order books, tickers, positions and the service's own messages."""
