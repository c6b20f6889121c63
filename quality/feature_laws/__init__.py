"""Laws that every feature must keep, tested on streams and tables, with planted cheats to prove detection."""
