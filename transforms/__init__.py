"""Pure functions from the tape to feature rows: they know no clock, no network and no file of data."""
