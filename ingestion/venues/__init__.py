"""Venues: one room per exchange, and which of their decoders reads the messages of a day."""
