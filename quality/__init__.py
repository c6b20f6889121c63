"""What must be true of data."""
