"""Public test kit: a broker on port 0 for other people's tests, simulated time."""
