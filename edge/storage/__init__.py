"""A device's disk: one budget for all streams, what its card has had to write."""
