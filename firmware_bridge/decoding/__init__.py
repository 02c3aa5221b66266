"""Decoders: what a frame says."""
