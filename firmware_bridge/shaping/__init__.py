"""Shaping: which readings are worth the disk and the link."""
