"""JetStream in a server: accounts, streams and consumers as they are asked for, around the store and the engine."""
