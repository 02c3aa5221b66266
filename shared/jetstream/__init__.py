"""JetStream's decisions as pure functions: configurations and their rules, errors, times, transforms."""
