"""Keys, claims and credentials as NATS has them: pure, no file, no clock, no randomness of its own."""
