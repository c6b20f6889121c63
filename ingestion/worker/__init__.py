"""The live process: reads a source, owns symbols, closes rows on time."""
