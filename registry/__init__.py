"""The life cycle of registry versions: what a version is, what a change breaks, and which version is active."""
