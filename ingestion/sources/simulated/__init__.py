"""A simulated market that speaks Bybit."""
