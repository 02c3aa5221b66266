"""Leafnode links: handshake, roles and reconnect policy as pure decisions."""
