"""Where messages come from: the exchange, the gateway, recordings and the simulator, behind one protocol."""
