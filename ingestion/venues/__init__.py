"""Venues: the exchanges that are read, a room each, and which of them decodes the messages of a day."""
