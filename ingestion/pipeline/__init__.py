"""From a message to the tape, the engine and closed rows, symbol by symbol."""
