"""A user's own function for what a port says, in a process of its own."""
