"""Puts the pieces together: configuration, life cycle, listeners, monitoring, reload."""
