"""The gateway's queues: subscriptions, sharing of symbols, recovery of lost order books."""
