"""Streams and consumers at full speed: taking messages in and handing them out, compiled."""
