"""The life cycle of registry versions: what one is, what changing to another breaks, and which one is active."""
