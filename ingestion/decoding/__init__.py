"""Decoding shared by all venues: scales, order books, tickers, positions and the service's own messages."""
