"""From messages to rows: what is read, decoded, kept, computed and handed on, live or played."""
