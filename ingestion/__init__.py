"""From messages to rows: reading, decoding, storing, computing and passing on, live or replayed."""
