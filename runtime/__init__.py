"""The composition root: settings, wiring, embedded servers and the command line."""
