"""The vocabulary of the market: events, instruments, clocks and errors. Knows numpy and the standard library only."""
