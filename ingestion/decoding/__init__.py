"""From the bytes of a message to event records."""
